//! The ports that the pods of a job open.

use serde_json::Value;
use teraslice_model::job::CheckedJob;

/// The name of the port where metrics are read.
pub(crate) const METRICS: &str = "metrics";
/// The number of that port, unless the job says otherwise.
const METRICS_PORT: u16 = 3_333;

/// Returns the port where the metrics of a job's processes are read, if the job wants that.
pub(crate) fn metrics(job: &CheckedJob) -> Option<u16> {
    let is_enabled = job.document.get("prom_metrics_enabled").and_then(Value::as_bool) == Some(true);
    let port = job.document.get("prom_metrics_port").and_then(Value::as_u64);
    is_enabled.then(|| port.and_then(|port| u16::try_from(port).ok()).unwrap_or(METRICS_PORT))
}
