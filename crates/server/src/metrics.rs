//! The master's metrics, under the names that dashboards know. A series ends with its execution.

mod exposition;

use serde_json::Value;
use teraslice_api::cluster::ControllerState;
use teraslice_core::store::{ExecutionQuery, Page};
use teraslice_model::{execution::Execution, record::VERSION, status::Status, timestamp::Timestamp};

use crate::{app::App, documents::NOT_ENDED, executions::workers, refusal::Refusal};
use exposition::Exposition;

/// Executions are listed in portions of this size.
const PAGE_LEN: u64 = 500;
/// Properties of a job that are metrics: the metric, what it says, the properties that it is read from.
const RESOURCES: [(&str, &str, [&str; 2]); 4] = [
    ("teraslice_execution_cpu_limit", "Cores that a worker may use.", ["resources_limits_cpu", "cpu"]),
    ("teraslice_execution_cpu_request", "Cores that a worker asks for.", ["resources_requests_cpu", "cpu"]),
    (
        "teraslice_execution_memory_limit",
        "Bytes that a worker may use.",
        ["resources_limits_memory", "memory"],
    ),
    (
        "teraslice_execution_memory_request",
        "Bytes that a worker asks for.",
        ["resources_requests_memory", "memory"],
    ),
];

impl App {
    /// Writes all metrics of the master.
    pub(crate) async fn metrics(&self) -> Result<String, Refusal> {
        let info = &self.options.info;
        let common = vec![("name", info.name.clone()), ("url", self.options.metrics_url.clone())];
        let mut out = Exposition::new(common);
        self.put_master(&mut out);
        let mut page = Page { from: 0, size: PAGE_LEN };
        loop {
            let query = ExecutionQuery { statuses: NOT_ENDED.to_vec(), page, ..ExecutionQuery::default() };
            let found = self.services.store.executions(query).await?;
            if found.is_empty() {
                break;
            }
            page.from += found.len() as u64;
            for execution in &found {
                put_execution(&mut out, execution);
            }
        }
        for controller in self.services.controllers.all() {
            put_controller(&mut out, &controller);
        }
        Ok(out.text())
    }

    fn put_master(&self, out: &mut Exposition) {
        let info = &self.options.info;
        let labels = [
            ("arch", info.arch.as_str()),
            ("clustering_type", &info.clustering_type),
            ("node_version", &info.node_version),
            ("platform", &info.platform),
            ("teraslice_version", &info.teraslice_version),
        ];
        out.gauge("teraslice_master_info", "What the master is.", &labels, 1.0);
        let sums = self.services.controllers.totals();
        for (name, help, value) in [
            ("teraslice_slices_processed", "Slices finished in all executions.", sums.processed),
            ("teraslice_slices_failed", "Slices given up in all executions.", sums.failed),
            ("teraslice_slices_queued", "Slices waiting in all executions.", sums.queued),
            ("teraslice_workers_joined", "Workers that joined in all executions.", sums.workers_joined),
            (
                "teraslice_workers_disconnected",
                "Workers that went away in all executions.",
                sums.workers_disconnected,
            ),
            (
                "teraslice_workers_reconnected",
                "Workers that came back in all executions.",
                sums.workers_reconnected,
            ),
        ] {
            out.gauge(name, help, &[], number(value));
        }
    }
}

fn put_execution(out: &mut Exposition, execution: &Execution) {
    let (ex_id, job_id) = (execution.ex_id.to_string(), execution.job_id.to_string());
    let text = |key: &str| execution.job.get(key).and_then(Value::as_str).unwrap_or_default();
    let labels = [("ex_id", ex_id.as_str()), ("job_id", job_id.as_str()), ("job_name", text("name"))];
    for (name, help, keys) in RESOURCES {
        if let Some(value) = keys.iter().find_map(|key| execution.job.get(*key).and_then(Value::as_f64)) {
            out.gauge(name, help, &labels, value);
        }
    }
    let seconds = |time: Timestamp| number(time.as_millis().max(0).unsigned_abs()) / 1_000.0;
    let slicers = execution.job.get("slicers").and_then(Value::as_f64).unwrap_or(1.0);
    for (name, help, value) in [
        ("teraslice_execution_created_timestamp_seconds", "When it was made.", seconds(execution.created)),
        (
            "teraslice_execution_updated_timestamp_seconds",
            "When it was last written.",
            seconds(execution.updated),
        ),
        ("teraslice_execution_slicers", "Slicers that are wanted.", slicers),
        ("teraslice_execution_workers", "Workers that are wanted.", f64::from(workers(execution))),
    ] {
        out.gauge(name, help, &labels, value);
    }
    for status in Status::ALL {
        let labels = [labels[0], labels[1], labels[2], ("status", status.as_str())];
        let is_it = f64::from(u8::from(status == execution.status));
        out.gauge("teraslice_execution_status", "1 for the present status.", &labels, is_it);
    }
    let image = text("kubernetes_image");
    let labels = [labels[0], labels[1], ("image", image), ("version", VERSION)];
    out.gauge("teraslice_execution_info", "What it runs as.", &labels, 1.0);
}

fn put_controller(out: &mut Exposition, controller: &ControllerState) {
    let ControllerState { ex_id, job_id, name, stats } = controller;
    let (ex_id, job_id) = (ex_id.to_string(), job_id.to_string());
    let labels = [("ex_id", ex_id.as_str()), ("job_id", job_id.as_str()), ("job_name", name.as_str())];
    for (name, help, value) in [
        ("teraslice_controller_workers_active", "Workers at work.", stats.workers_active),
        ("teraslice_controller_workers_available", "Workers without a slice.", stats.workers_available),
        ("teraslice_controller_workers_joined", "Workers that joined.", stats.workers_joined),
        ("teraslice_controller_workers_reconnected", "Workers that came back.", stats.workers_reconnected),
        ("teraslice_controller_workers_disconnected", "Workers that went away.", stats.workers_disconnected),
        ("teraslice_controller_slices_processed", "Slices finished.", stats.processed),
        ("teraslice_controller_slices_failed", "Slices given up.", stats.failed),
        ("teraslice_controller_slices_queued", "Slices waiting.", stats.queued),
        ("teraslice_controller_slicers_count", "Slicers at work.", stats.slicers),
    ] {
        out.gauge(name, help, &labels, number(value));
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floating point")]
const fn number(value: u64) -> f64 {
    value as f64
}
