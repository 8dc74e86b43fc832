//! A master of doubles: a store in memory, an engine over a cluster that only says yes, a library that keeps what it gets.

mod backend;
mod library;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use teraslice_api::cluster::{ClusterInfo, NodeState, Process, WorkerName};
use teraslice_core::{
    context::Context,
    control::{ControlSession, FromController, Hello, ToController},
    engine::{Engine, EngineHandle, EngineOptions},
    store::{Flush, StateStore, StatusChange, Writer},
};
use teraslice_model::{
    execution::{Execution, Stats},
    id::{ExId, JobId},
    job::{CheckEnvironment, RawJob},
    problem::Problem,
    status::Status,
};
use teraslice_server::{
    Readiness, ServerOptions, Services,
    checker::{Checked, Checker, Refused},
    controllers::{Controllers, ControllersOptions},
    router,
};
use teraslice_store::MemoryStore;
use tokio::{sync::mpsc, time::timeout};
use tower::ServiceExt;

use crate::documented::check_documented;

use self::{backend::YesBackend, library::KeepingLibrary};

/// A state is waited for this long.
const LIMIT: Duration = Duration::from_mins(10);

/// A master and everything around it.
pub(crate) struct Stage {
    router: Router,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) context: Context,
    pub(crate) engine: EngineHandle,
    pub(crate) controllers: Controllers,
    pub(crate) readiness: Readiness,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A controller that does what it is told.
pub(crate) struct Puppet {
    pub(crate) says: mpsc::Sender<FromController>,
    pub(crate) hello: Hello,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let context = Context::simulated(7);
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
        Self::over(context, store, change).await
    }

    /// Sets a master up over a store that is there.
    pub(crate) async fn over(
        context: Context,
        store: Arc<dyn StateStore>,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let environment = environment();
        let backend = Arc::new(YesBackend::new(context.clone()));
        let options = EngineOptions::new(environment);
        let (engine, handle) = Engine::new(options, context.clone(), Arc::clone(&store), backend);
        drop(context.spawn(engine.run()));
        let options = ControllersOptions::default();
        let controllers = Controllers::load(options, context.clone(), Arc::clone(&store)).await.unwrap();
        let readiness = Readiness::default();
        readiness.set(true);
        let services = Services {
            context: context.clone(),
            store: Arc::clone(&store),
            engine: handle.clone(),
            checker: Arc::new(TestChecker),
            library: Arc::new(KeepingLibrary::default()),
            controllers: controllers.clone(),
            nodes: Arc::new(nodes()),
            readiness: readiness.clone(),
        };
        let mut options = ServerOptions::new(info());
        change(&mut options);
        Self { router: router(options, services), store, context, engine: handle, controllers, readiness }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.router.clone().oneshot(request).await.unwrap();
        check_documented(&method, &path, answer.status());
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path, Body::empty())).await
    }

    pub(crate) async fn post(&self, path: &str) -> Reply {
        self.send(request(Method::POST, path, Body::empty())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(request(Method::DELETE, path, Body::empty())).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Reply {
        self.send(with_json(Method::POST, path, body)).await
    }

    pub(crate) async fn put_json(&self, path: &str, body: &Value) -> Reply {
        self.send(with_json(Method::PUT, path, body)).await
    }

    /// Submits a job without starting it.
    pub(crate) async fn stored_job(&self, body: &Value) -> JobId {
        self.post_json("/jobs?start=false", body).await.id("job_id")
    }

    /// Submits a job and starts it.
    pub(crate) async fn started_job(&self, body: &Value) -> (JobId, ExId) {
        let reply = self.post_json("/jobs", body).await;
        (reply.id("job_id"), reply.id("ex_id"))
    }

    /// Submits a job that runs, with its controller.
    pub(crate) async fn running_job(&self, body: &Value) -> (JobId, ExId, Puppet) {
        let (job_id, ex_id) = self.started_job(body).await;
        (job_id, ex_id, self.run(ex_id).await)
    }

    /// Lets a started execution run.
    pub(crate) async fn run(&self, ex_id: ExId) -> Puppet {
        self.until(async || self.execution(ex_id).await.status == Status::Initializing).await;
        let puppet = self.puppet(ex_id).await;
        self.set_status(ex_id, Status::Running).await;
        puppet
    }

    /// Submits a job that has ended so.
    pub(crate) async fn ended_job(&self, body: &Value, status: Status) -> (JobId, ExId) {
        let (job_id, ex_id, puppet) = self.running_job(body).await;
        drop(puppet);
        self.end(ex_id, status).await;
        self.until(async || self.controllers.stats(ex_id).is_none()).await;
        (job_id, ex_id)
    }

    /// Connects a controller.
    pub(crate) async fn puppet(&self, ex_id: ExId) -> Puppet {
        let (says, from) = mpsc::channel(16);
        let (to, mut told) = mpsc::channel(16);
        let execution = self.execution(ex_id).await;
        let epoch = self.store.begin_epoch(ex_id, execution.generation).await.unwrap();
        let hello = Hello {
            ex_id,
            generation: execution.generation,
            epoch,
            host: "node-1".to_owned(),
            port: 45_680,
            log_level: None,
        };
        self.controllers.attach(ex_id, ControlSession { from, to });
        says.send(FromController::Hello(hello.clone())).await.unwrap();
        let answers = says.downgrade();
        drop(self.context.spawn(async move {
            while let Some(ToController::Command { number, .. }) = told.recv().await {
                let Some(answers) = answers.upgrade() else { return };
                let _gone = answers.send(FromController::Done { command: number, error: None }).await;
            }
        }));
        let puppet = Puppet { says, hello };
        self.until(async || self.controllers.located(ex_id).borrow().as_ref() == Some(&puppet.hello)).await;
        self.until(async || self.execution(ex_id).await.slicer_port.is_some()).await;
        puppet
    }

    pub(crate) async fn execution(&self, ex_id: ExId) -> Execution {
        self.store.execution(ex_id).await.unwrap().unwrap()
    }

    pub(crate) async fn set_status(&self, ex_id: ExId, to: Status) {
        let from = self.execution(ex_id).await.status;
        self.store.set_status(ex_id, StatusChange::new(from, to)).await.unwrap();
    }

    /// Ends an execution as its controller would.
    pub(crate) async fn end(&self, ex_id: ExId, to: Status) {
        let from = self.execution(ex_id).await.status;
        let failure = (to == Status::Failed).then(|| "2 slices have failed".to_owned());
        let stats =
            Stats { job_duration: 3, queuing_complete: Some(self.context.wall()), ..busy(&self.context) };
        let change = StatusChange { failure, stats: Some(stats), ..StatusChange::new(from, to) };
        self.store.set_status(ex_id, change).await.unwrap();
    }

    /// Writes to the ledger of an execution as its controller would.
    pub(crate) async fn append(&self, ex_id: ExId, flush: Flush) {
        let Execution { generation, epoch, .. } = self.execution(ex_id).await;
        self.store.append(ex_id, Writer { generation, epoch }, flush).await.unwrap();
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, waiting).await.expect("the state comes about");
    }
}

impl Puppet {
    pub(crate) async fn report(&self, stats: Stats) {
        self.says.send(FromController::Stats(Box::new(stats))).await.unwrap();
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn id<T: std::str::FromStr>(&self, key: &str) -> T {
        let json = self.json();
        let text = json[key].as_str().unwrap_or_else(|| panic!("no {key}: {}", self.text));
        text.parse().unwrap_or_else(|_| panic!("no id: {text}"))
    }

    /// Returns the message of a refusal with this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(json["error"], status, "{}", self.text);
        json["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }
}

pub(crate) fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let address: SocketAddr = "10.0.0.9:4000".parse().unwrap();
    Request::builder().method(method).uri(path).extension(ConnectInfo(address)).body(body).unwrap()
}

pub(crate) fn with_json(method: Method, path: &str, body: &Value) -> Request<Body> {
    let mut request = request(method, path, Body::from(body.to_string()));
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    request
}

/// A job that is right.
pub(crate) fn job() -> Value {
    json!({
        "name": "a job", "lifecycle": "once", "workers": 2, "analytics": true, "max_retries": 0,
        "operations": [{"_op": "test-reader"}, {"_op": "noop"}],
    })
}

pub(crate) fn busy(context: &Context) -> Stats {
    Stats {
        workers_available: 1,
        workers_active: 1,
        workers_joined: 2,
        queued: 4,
        leased: 1,
        processed: 50,
        failed: 2,
        slicers: 1,
        started: Some(context.wall()),
        ..Stats::default()
    }
}

pub(crate) fn environment() -> CheckEnvironment {
    CheckEnvironment { cpus: 2, ..CheckEnvironment::default() }
}

fn info() -> ClusterInfo {
    ClusterInfo {
        arch: "x64".to_owned(),
        clustering_type: "native".to_owned(),
        name: "tera".to_owned(),
        node_version: "v24.0.0".to_owned(),
        platform: "linux".to_owned(),
        teraslice_version: "v0.1.0".to_owned(),
    }
}

fn nodes() -> BTreeMap<String, NodeState> {
    let process = |number: u64, assignment: &str| Process {
        worker_id: WorkerName::Number(number),
        assignment: assignment.to_owned(),
        pid: Some(100 + number),
        ex_id: (assignment == "worker").then(|| ExId::from_random([3; 16])),
        job_id: (assignment == "worker").then(|| JobId::from_random([4; 16])),
        assets: None,
        pod_name: None,
        pod_ip: None,
        image: None,
    };
    let node = NodeState {
        node_id: "node-1".to_owned(),
        hostname: "10.0.0.1".to_owned(),
        pid: Some(77),
        node_version: "v24.0.0".to_owned(),
        teraslice_version: "v0.1.0".to_owned(),
        total: Some(8),
        state: "connected".to_owned(),
        available: Some(6),
        active: vec![process(1, "node_master"), process(2, "worker")],
    };
    BTreeMap::from([("node-1".to_owned(), node)])
}

/// Knows two readers, one of which cannot go on, and one asset.
struct TestChecker;

#[async_trait]
impl Checker for TestChecker {
    async fn check(&self, job: RawJob) -> Result<Checked, Refused> {
        let (checked, warnings) = job.check(&environment()).map_err(|problems| Refused { problems })?;
        let mut document = checked.document;
        let asset = document.get("assets").and_then(|assets| assets.get(0)?.as_str()).map(str::to_owned);
        match asset.as_deref() {
            None => {}
            Some("unknown") => {
                return Err(Refused {
                    problems: vec![Problem::new("/assets/0", "no asset is called \"unknown\"")],
                });
            }
            Some(_) => {
                document.insert("assets".to_owned(), json!(["a".repeat(40)]));
            }
        }
        let operations = document.get_mut("operations").and_then(Value::as_array_mut).unwrap();
        for operation in operations.iter_mut().filter_map(Value::as_object_mut) {
            fill(operation, "_encoding", "json");
        }
        let is_recoverable = operations[0]["_op"] != "stubborn-reader";
        Ok(Checked { document, warnings, is_recoverable })
    }
}

fn fill(operation: &mut Map<String, Value>, key: &str, value: &str) {
    operation.entry(key).or_insert_with(|| value.into());
}
