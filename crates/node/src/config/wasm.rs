//! The sandbox of assets: `teraslice.wasm`.

use std::time::Duration;

use serde_json::{Map, Value};
use teraslice_model::{job::Sandbox, problem::Problem};
use teraslice_runtime_wasm::Limits;

use super::{
    keys::{self, Report, check_section},
    values::{duration, names, whole},
};

const POINTER: &str = "/teraslice/wasm";

/// What assets may use, and how they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmConfig {
    /// Bytes of memory of an instance, where the job does not say (`memory`, default 64 MiB).
    pub memory: u64,
    /// The most that a job may ask for (`memory_max`, default 1 GiB).
    pub memory_max: u64,
    /// How long a batch may take beside the time for its size, where the job does not say (`time_per_batch`, default 1 s).
    pub time_per_batch: Duration,
    /// The longest that a job may ask for (`time_per_batch_max`, default 1 minute).
    pub time_per_batch_max: Duration,
    /// Bytes of compiled assets that are kept (`cache_size`, default 1 GiB).
    pub cache_size: u64,
    /// Assets that are never interrupted, by `name` or `name:version` (`trusted`).
    pub trusted: Vec<String>,
}

impl WasmConfig {
    pub(super) fn of(section: &Map<String, Value>, report: &mut Report) -> Self {
        let set = check_section(section, POINTER, keys::WASM, report);
        let defaults = Self::default();
        let memory_max = whole(&set, "memory_max").unwrap_or(defaults.memory_max);
        let time_max = duration(&set, "time_per_batch_max").unwrap_or(defaults.time_per_batch_max);
        let config = Self {
            memory: whole(&set, "memory").unwrap_or_else(|| defaults.memory.min(memory_max)),
            memory_max,
            time_per_batch: duration(&set, "time_per_batch")
                .unwrap_or_else(|| defaults.time_per_batch.min(time_max)),
            time_per_batch_max: time_max,
            cache_size: whole(&set, "cache_size").unwrap_or(defaults.cache_size),
            trusted: names(&set, "trusted").unwrap_or_default(),
        };
        let mut exceeds = |key: &str, value: u128, max: u128| {
            if value > max {
                let message = format!("{key} is {value}, more than {key}_max, which is {max}");
                report.problems.push(Problem::new(format!("{POINTER}/{key}"), message));
            }
        };
        exceeds("memory", config.memory.into(), memory_max.into());
        exceeds("time_per_batch", config.time_per_batch.as_millis(), time_max.as_millis());
        config
    }

    /// Returns the limits of a job's instances.
    ///
    /// # Errors
    ///
    /// When the job asks for more than it may have.
    pub fn limits(&self, job: &Sandbox) -> Result<Limits, Vec<Problem>> {
        let memory = job.memory.unwrap_or(self.memory);
        let time = job.time_per_batch.unwrap_or(self.time_per_batch);
        let mut problems = Vec::new();
        let mut exceeds = |key: &str, value: u128, max: u128, of: &str| {
            if value > max {
                let message = format!("wasm_{key} is {value}, the configuration allows {max} {of}");
                let hint = format!("the limit is teraslice.wasm.{key}_max");
                problems.push(Problem::new(format!("/wasm_{key}"), message).with_hint(hint));
            }
        };
        exceeds("memory", memory.into(), self.memory_max.into(), "bytes");
        exceeds("time_per_batch", time.as_millis(), self.time_per_batch_max.as_millis(), "milliseconds");
        if !problems.is_empty() {
            return Err(problems);
        }
        let usual = Limits::default();
        Ok(Limits {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            process_base: time,
            process_max: usual.process_max.max(time),
            ..usual
        })
    }
}

impl Default for WasmConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            memory: limits.memory as u64,
            memory_max: 1 << 30,
            time_per_batch: limits.process_base,
            time_per_batch_max: Duration::from_mins(1),
            cache_size: 1 << 30,
            trusted: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(section: Value) -> (WasmConfig, Vec<String>) {
        let mut report = Report::default();
        let config = WasmConfig::of(section.as_object().expect("a section is an object"), &mut report);
        (config, report.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn takes_the_limits_of_the_job_before_its_own() {
        let (config, problems) = of(json!({"memory": 1 << 20, "time_per_batch": "2 seconds"}));
        assert_eq!(problems, [""; 0]);
        let own = config.limits(&Sandbox::default()).unwrap();
        assert_eq!((own.memory, own.process_base), (1 << 20, Duration::from_secs(2)));
        let job = Sandbox { memory: Some(2 << 20), time_per_batch: Some(Duration::from_secs(40)) };
        let jobs = config.limits(&job).unwrap();
        assert_eq!((jobs.memory, jobs.process_base), (2 << 20, Duration::from_secs(40)));
        assert_eq!(jobs.process_time(0), Duration::from_secs(40));
    }

    #[test]
    fn refuses_what_is_beyond_the_cap() {
        let (_, problems) = of(json!({"memory": 9_000_000_000_u64, "time_per_batch": 90_000}));
        let expected = [
            "/teraslice/wasm/memory: memory is 9000000000, more than memory_max, which is 1073741824",
            "/teraslice/wasm/time_per_batch: time_per_batch is 90000, more than time_per_batch_max, which is 60000",
        ];
        assert_eq!(problems, expected);
        let job = Sandbox { memory: Some(2 << 30), time_per_batch: Some(Duration::from_mins(2)) };
        let problems = WasmConfig::default().limits(&job).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "/wasm_memory: wasm_memory is 2147483648, the configuration allows 1073741824 bytes \
             (the limit is teraslice.wasm.memory_max)",
            "/wasm_time_per_batch: wasm_time_per_batch is 120000, the configuration allows 60000 milliseconds \
             (the limit is teraslice.wasm.time_per_batch_max)",
        ];
        assert_eq!(problems, expected);
    }
}
