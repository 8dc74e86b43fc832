//! Metrics in the text format of Prometheus, on a port of their own.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use teraslice_backend_native::child::Assignment;
use teraslice_core::{
    context::Context,
    link::{FromWorker, LinkClosed, Outcome, ToWorker, WorkerLink},
};
use teraslice_model::{execution::Stats, job::CheckedJob};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::ClusterConfig;

/// The content type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the metrics of a controller until dropped; nothing where metrics are off.
pub(super) fn serve_controller(
    context: &Context,
    config: &ClusterConfig,
    job: &CheckedJob,
    assignment: &Assignment,
    stats: watch::Receiver<Stats>,
) -> Option<DropGuard> {
    let labels = labels(config, job, assignment);
    let render = move || render("execution_controller_info", &labels, stats.borrow().processed);
    serve(context, config, job, render)
}

/// Serves the metrics of a worker until dropped; nothing where metrics are off.
pub(super) fn serve_worker(
    context: &Context,
    config: &ClusterConfig,
    job: &CheckedJob,
    assignment: &Assignment,
    counter: SliceCounter,
) -> Option<DropGuard> {
    let labels = labels(config, job, assignment);
    serve(context, config, job, move || render("worker_info", &labels, counter.get()))
}

fn serve(
    context: &Context,
    config: &ClusterConfig,
    job: &CheckedJob,
    render: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> Option<DropGuard> {
    let of_job = |key| job.document.get(key);
    let is_enabled = of_job("prom_metrics_enabled").and_then(serde_json::Value::as_bool);
    let port = of_job("prom_metrics_port").and_then(serde_json::Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).or(config.metrics_port);
    let port = match is_enabled {
        Some(true) => port.or(Some(3333)),
        Some(false) => None,
        None => config.metrics_port.and(port),
    }?;
    let answer = move || async move { ([(CONTENT_TYPE, TEXT)], render()) };
    Some(serve_at(context, port, Router::new().route("/metrics", get(answer))))
}

/// Serves metrics until dropped.
pub(super) fn serve_at(context: &Context, port: u16, router: Router) -> DropGuard {
    let stop = CancellationToken::new();
    let serving = async move {
        // Several processes of a machine share the configured port: the first has it, the others take any.
        let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        };
        let served = async {
            let listener = listener?;
            tracing::info!(address = %listener.local_addr()?, "metrics are served");
            axum::serve(listener, router).await
        };
        if let Err(error) = served.await {
            tracing::warn!(%error, "metrics are not served");
        }
    };
    drop(context.spawn(stop.clone().run_until_cancelled_owned(serving)));
    stop.drop_guard()
}

/// Writes the labels that all series of a process have.
fn labels(config: &ClusterConfig, job: &CheckedJob, assignment: &Assignment) -> String {
    let assigned = assignment.role.node_type();
    let pairs = [
        ("assignment", assigned.to_owned()),
        ("ex_id", assignment.ex_id.to_string()),
        ("job_id", assignment.job_id.to_string()),
        ("job_name", job.name.clone()),
        ("name", config.name.clone()),
        ("pod_name", format!("{assigned}-{}", assignment.ordinal)),
        ("url", config.metrics_url.clone()),
    ];
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs = pairs.map(|(name, value)| format!("{name}=\"{}\"", escape(&value)));
    pairs.join(",")
}

fn render(info: &str, labels: &str, processed: u64) -> String {
    format!(
        "# HELP teraslice_job_{info} What this process is.\n# TYPE teraslice_job_{info} gauge\n\
         teraslice_job_{info}{{{labels},version=\"{version}\"}} 1\n\
         # HELP teraslice_job_slices_processed Slices that are finished, failed ones included.\n\
         # TYPE teraslice_job_slices_processed gauge\nteraslice_job_slices_processed{{{labels}}} {processed}\n",
        version = teraslice_model::record::VERSION,
    )
}

/// Counts the slices that a worker has finished. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct SliceCounter(Arc<AtomicU64>);

impl SliceCounter {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Wraps a link so that what is answered over it is counted.
    pub(super) fn count<L: WorkerLink>(&self, link: L) -> Counted<L> {
        Counted { link, counter: self.clone() }
    }
}

/// A link whose results are counted.
pub(super) struct Counted<L> {
    link: L,
    counter: SliceCounter,
}

#[async_trait]
impl<L: WorkerLink> WorkerLink for Counted<L> {
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed> {
        if let FromWorker::Results(results) = &message {
            let finished = results.iter().filter(|result| result.outcome != Outcome::Released).count();
            self.counter.0.fetch_add(finished as u64, Ordering::Relaxed);
        }
        self.link.send(message).await
    }

    async fn recv(&mut self) -> Option<ToWorker> {
        self.link.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_series_that_dashboards_know() {
        let text = render("worker_info", "ex_id=\"1\"", 7);
        assert!(text.contains("\nteraslice_job_slices_processed{ex_id=\"1\"} 7\n"), "{text}");
        assert!(text.contains("\nteraslice_job_worker_info{ex_id=\"1\",version=\"v"), "{text}");
        assert!(text.lines().all(|line| !line.starts_with(' ')), "{text}");
    }
}
