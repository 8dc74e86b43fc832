//! `delay`: waits once per slice.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;
use teraslice_core::{
    operation::{
        OperationError, OperationInfo, OperationKind, Processed, Processor, ProcessorFactory, SliceContext,
    },
    registry::NativeProcessor,
};
use teraslice_model::{batch::Batch, job::OperationConfig, problem::Problem};

use crate::noop::handed_on;

/// The longest wait that makes sense: beyond it leases are for nothing.
const MS_MAX: u64 = 3_600_000;

/// Waits once per slice, then hands records on.
#[derive(Clone, Copy, Debug)]
pub struct Delay;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct DelayConfig {
    /// Milliseconds to wait.
    #[serde(default = "default_ms")]
    pub ms: u64,
}

const fn default_ms() -> u64 {
    100
}

impl NativeProcessor for Delay {
    type Config = DelayConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({"properties": {"ms": {"type": "integer", "default": 100, "minimum": 0}}});
        OperationInfo::built_in("delay", OperationKind::Processor, "Waits once per slice.", settings)
    }

    fn factory(
        &self,
        config: Self::Config,
        _: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        if config.ms > MS_MAX {
            let problem = Problem::new("/ms", format!("ms is {}, at most {MS_MAX} is allowed", config.ms));
            return Err(vec![problem]);
        }
        Ok(Arc::new(Factory { pause: Duration::from_millis(config.ms) }))
    }
}

#[derive(Debug)]
struct Factory {
    pause: Duration,
}

impl ProcessorFactory for Factory {
    fn steps(&self) -> usize {
        1
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(Waiter { pause: self.pause }))
    }
}

struct Waiter {
    pause: Duration,
}

impl Processor for Waiter {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        Ok(handed_on(vec![batch.clone()]))
    }

    /// Waits at the end: an empty slice waits too.
    fn finish(&mut self) -> Result<Processed, OperationError> {
        std::thread::sleep(self.pause);
        Ok(handed_on(Vec::new()))
    }
}
