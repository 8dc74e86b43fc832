//! What the benches share: jobs, plans, and a run in one process.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_core::{
    context::Context,
    execution::{Controller, ControllerOptions, ExecutionEnd},
    link::{ControllerLink, WorkerLink, channel},
    operation::{
        Fetched, Fetcher, OperationError, OperationInfo, OperationKind, RecordStream, SliceContext, Sliced,
        Slicer, SlicerContext,
    },
    plan::Plan,
    registry::{Reader, Registry, WorkerContext},
    store::StateStore,
    worker::{Worker, WorkerOptions},
};
use teraslice_elastic::Connections;
use teraslice_model::{
    execution::Execution,
    id::{ExId, Generation, WorkerId},
    job::{CheckEnvironment, CheckedJob, OperationConfig, RawJob},
    problem::Problem,
    slice::Request,
    status::Status,
};
use teraslice_runtime_wasm::{Bundle, Runtime, RuntimeOptions, WasmAsset};
use tokio_util::sync::CancellationToken;

/// Checks a job.
///
/// # Errors
///
/// Every problem of the job.
pub fn checked(job: &Value) -> Result<Arc<CheckedJob>> {
    let job = RawJob(job.as_object().cloned().unwrap_or_default());
    let (job, _) = job.check(&CheckEnvironment::default()).map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(Arc::new(job))
}

/// Returns the built-in operations, the standard asset and [`TinyReader`].
///
/// # Errors
///
/// When the standard asset is not built.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::default();
    teraslice_connectors::register(&mut registry, &Connections::default());
    registry.reader(TinyReader);
    registry.asset(Arc::new(standard()?));
    Ok(registry)
}

/// Loads the standard asset.
///
/// # Errors
///
/// When it is not built.
pub fn standard() -> Result<WasmAsset> {
    load(bundle("standard")?, RuntimeOptions::default())
}

/// Reads an asset of this repository.
///
/// # Errors
///
/// When it is not built.
pub fn bundle(name: &str) -> Result<Bundle> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../assets/dist/{name}-v1.0.0.zip"));
    let zip = std::fs::read(path).context("the assets are not built: run `cargo xtask assets`")?;
    Ok(Bundle::read(&zip)?)
}

/// Loads an asset into a sandbox of its own.
///
/// # Errors
///
/// When it does not run here.
pub fn load(bundle: Bundle, options: RuntimeOptions) -> Result<WasmAsset> {
    let runtime = Runtime::new(options).map_err(|error| anyhow!("{error:#}"))?;
    Ok(runtime.load(bundle)?)
}

/// Binds a job.
///
/// # Errors
///
/// Every problem of the job.
pub fn plan(job: &Value) -> Result<Plan> {
    registry()?.plan(checked(job)?).map_err(|problems| anyhow!("{problems:?}"))
}

/// Runs a job in this process: a controller and workers over channels.
///
/// # Errors
///
/// When the run does not complete.
pub async fn run(plan: &Plan, store: Arc<dyn StateStore>, context: Context) -> Result<ExecutionEnd> {
    let ex_id = create(store.as_ref(), &context).await?;
    let (controller, dialer) = channel::channel();
    let mut workers: Vec<Box<dyn WorkerLink>> = Vec::new();
    for _ in 0..plan.job().workers {
        workers.push(Box::new(dialer.connect().await?));
    }
    run_over(Links { controller: Box::new(controller), workers }, ex_id, plan, store, context).await
}

/// Writes down an execution that is to be run.
///
/// # Errors
///
/// When the store does not take it.
pub async fn create(store: &dyn StateStore, context: &Context) -> Result<ExId> {
    let ex_id = context.ex_id();
    store.create_execution(execution(context, ex_id)).await?;
    Ok(ex_id)
}

/// The ends of the links between a controller and its workers.
pub struct Links {
    /// Of the controller.
    pub controller: Box<dyn ControllerLink>,
    /// Of each worker.
    pub workers: Vec<Box<dyn WorkerLink>>,
}

/// Runs a job in this process, over links that are there.
///
/// # Errors
///
/// When the run does not complete.
pub async fn run_over(
    links: Links,
    ex_id: ExId,
    plan: &Plan,
    store: Arc<dyn StateStore>,
    context: Context,
) -> Result<ExecutionEnd> {
    let options = ControllerOptions::new(ex_id, Generation(1));
    let (controller, _handle) =
        Controller::new(options, context.clone(), store, plan.clone(), links.controller);
    let mut workers = Vec::new();
    for (ordinal, link) in links.workers.into_iter().enumerate() {
        let options = WorkerOptions::new(ex_id, worker_id(ordinal));
        let worker = Worker::new(options, context.clone(), plan.clone(), link);
        workers.push(context.spawn(async move { worker.run(CancellationToken::new()).await }));
    }
    let end = controller.run().await?;
    for worker in workers {
        worker.await?;
    }
    anyhow::ensure!(end.status == Status::Completed, "{end:?}");
    Ok(end)
}

/// Returns the name of a worker.
#[must_use]
pub fn worker_id(ordinal: usize) -> WorkerId {
    WorkerId::new(format!("worker-{ordinal}"))
}

fn execution(context: &Context, ex_id: ExId) -> Execution {
    Execution {
        status: Status::Initializing,
        generation: Generation(1),
        ..Execution::new(ex_id, context.job_id(), serde_json::Map::new(), context.wall())
    }
}

/// Makes slices as fast as it can; they hold no record.
#[derive(Clone, Copy, Debug)]
pub struct TinyReader;

/// Its settings.
#[derive(Debug, Deserialize)]
pub struct TinyConfig {
    slices: u64,
}

#[async_trait]
impl Reader for TinyReader {
    type Config = TinyConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({"properties": {"slices": {}}});
        OperationInfo::built_in("tiny_reader", OperationKind::Reader, "Makes slices.", settings)
    }

    fn check(&self, _: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        Vec::new()
    }

    fn is_recoverable(&self, _: &Self::Config) -> bool {
        true
    }

    async fn slicers(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        _: SlicerContext,
    ) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        Ok(vec![Box::new(TinySlicer { made: 0, slices: config.slices })])
    }

    async fn fetcher(
        &self,
        _: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        Ok(Box::new(TinyFetcher))
    }
}

struct TinySlicer {
    made: u64,
    slices: u64,
}

#[async_trait]
impl Slicer for TinySlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let until = self.slices.min(self.made + max as u64);
        let request = |n| Request::from_json(format!("{{\"n\":{n}}}"));
        let requests = (self.made..until).map(request).collect();
        self.made = until;
        let position = Request::from_json(until.to_string());
        Ok(Sliced { requests, position, is_exhausted: until == self.slices })
    }
}

struct TinyFetcher;

#[async_trait]
impl Fetcher for TinyFetcher {
    async fn open(&mut self, _: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        Ok(Box::new(Empty))
    }
}

struct Empty;

#[async_trait]
impl RecordStream for Empty {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        Ok(None)
    }
}

/// The settings of the five-operation chain: filter, set, copy, drop, rename.
#[must_use]
pub fn chain() -> Value {
    json!([
        {"_op": "filter", "field": "status", "value": "closed"},
        {"_op": "set_field", "field": "source", "value": "bench"},
        {"_op": "copy_field", "source": "user", "destination": "owner"},
        {"_op": "drop_field", "field": "comment"},
        {"_op": "copy_field", "source": "ts", "destination": "time", "delete_source": true},
    ])
}

/// Returns record `n`, about 300 bytes of JSON.
#[must_use]
pub fn record(n: usize) -> String {
    let status = if n.is_multiple_of(4) { "closed" } else { "open" };
    json!({
        "id": n, "status": status, "user": format!("user-{}", n % 977), "ts": 1_700_000_000_000_u64 + n as u64,
        "comment": "a remark of some length that nobody will ever read again",
        "url": format!("https://example.com/items/{n}?page={}", n % 13), "bytes": n * 37 % 1_000_003,
        "ratio": 0.125, "tags": ["one", "two", "three"], "geo": {"lat": 40.7, "lon": -74.0},
        "agent": "Mozilla/5.0 (X11; Linux x86_64)",
    })
    .to_string()
}

/// Does what [`chain`] does to one record, as one would write it without Teraslice; none if it is dropped.
#[must_use]
pub fn by_value(record: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(record).ok()?;
    let object = value.as_object_mut()?;
    if object.get("status").is_some_and(|status| status == "closed") {
        return None;
    }
    if !object.contains_key("source") {
        object.insert("source".to_owned(), "bench".into());
    }
    if let Some(user) = object.get("user").cloned() {
        object.insert("owner".to_owned(), user);
    }
    object.remove("comment");
    if let Some(time) = object.remove("ts") {
        object.insert("time".to_owned(), time);
    }
    Some(value)
}

/// Returns a slice to open processors with.
#[must_use]
pub fn slice_context() -> SliceContext {
    let ex_id = ExId::from_random([1; 16]);
    let request = Request::from_json("{}");
    SliceContext {
        ex_id,
        job_id: teraslice_model::id::JobId::from_random([2; 16]),
        worker: WorkerId::new("bench"),
        slice: teraslice_model::slice::Slice::new(
            ex_id,
            0,
            1,
            request,
            teraslice_model::timestamp::Timestamp::default(),
        ),
        attempt: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ratio means something only if both sides do the same.
    #[tokio::test]
    async fn the_chain_and_its_baseline_agree() {
        use teraslice_model::batch::{Batch, Frame};
        let noop = vec![json!({"_op": "noop"})];
        let all = [noop, chain().as_array().cloned().unwrap_or_default()].concat();
        let operations = checked(&json!({"operations": all})).unwrap();
        let factory =
            teraslice_core::registry::Asset::chain(&standard().unwrap(), &operations.operations[1..])
                .unwrap();
        let records: Vec<_> = (0..100).map(record).collect();
        let slice = slice_context();
        let mut processor = factory.open(&slice).unwrap();
        let processed = processor.process(&Batch::new(Frame::of(&records).unwrap())).unwrap();
        let expected: Vec<_> = records.iter().filter_map(|record| by_value(record.as_bytes())).collect();
        let batch = &processed.batches[0];
        let found: Vec<Value> =
            (0..batch.len()).map(|at| serde_json::from_slice(batch.record(at)).unwrap()).collect();
        assert_eq!(found, expected);
    }
}
