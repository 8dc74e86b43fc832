//! Small operations that do as they are told, for tests of whatever runs operations.

pub mod processor;
pub mod reader;
pub mod sink;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};
use teraslice_model::{
    dead_letter::DeadLetterAction,
    job::{ApiConfig, CheckedJob, Encoding, Lifecycle, OperationConfig, Resources, Sandbox},
};

pub use processor::{FailingProcessor, HoldingProcessor, PassingProcessor};
pub use reader::CountingReader;
pub use sink::{Commits, MemorySink};

use crate::registry::Registry;

/// Makes a registry of all fakes; what sinks commit is in the second value.
#[must_use]
pub fn registry() -> (Registry, Commits) {
    let (mut registry, commits) = (Registry::default(), Commits::default());
    registry.reader(CountingReader);
    registry.processor(FailingProcessor);
    registry.processor(HoldingProcessor);
    registry.processor(PassingProcessor);
    registry.sink(MemorySink(commits.clone()));
    (registry, commits)
}

/// Makes an operation as a job has it.
#[must_use]
pub fn operation(op: &str, settings: Value) -> OperationConfig {
    OperationConfig {
        op: op.to_owned(),
        asset: None,
        encoding: Encoding::Json,
        dead_letter_action: None,
        api_name: None,
        connection: None,
        settings: object(settings),
    }
}

/// Makes an operation that treats refused records as `action` says.
#[must_use]
pub fn refusing(op: &str, settings: Value, action: &str) -> OperationConfig {
    let dead_letter_action = Some(DeadLetterAction::parse(action));
    OperationConfig { dead_letter_action, ..operation(op, settings) }
}

/// Makes an API as a job has it.
#[must_use]
pub fn api(name: &str, settings: Value) -> ApiConfig {
    ApiConfig {
        name: name.to_owned(),
        encoding: None,
        dead_letter_action: None,
        connection: None,
        settings: object(settings),
    }
}

/// Makes a job of operations that ends by itself and tries slices three times.
#[must_use]
pub fn job(operations: Vec<OperationConfig>, apis: Vec<ApiConfig>) -> CheckedJob {
    CheckedJob {
        name: "fake".to_owned(),
        lifecycle: Lifecycle::Once,
        operations,
        apis,
        assets: Vec::new(),
        workers: 1,
        slicers: 1,
        max_retries: 2,
        analytics: true,
        probation_window: Duration::from_mins(5),
        autorecover: false,
        active: true,
        stateful: false,
        labels: BTreeMap::new(),
        env_vars: BTreeMap::new(),
        log_level: None,
        sandbox: Sandbox::default(),
        resources: Resources::default(),
        extra: Map::new(),
        document: Map::new(),
    }
}

fn object(settings: Value) -> Map<String, Value> {
    match settings {
        Value::Object(settings) => settings,
        _ => Map::new(),
    }
}
