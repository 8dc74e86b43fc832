//! How many slices a second go to workers over gRPC and into the master's durable ledger, against the same job over channels?

use std::{io::Write as _, sync::Arc};

use anyhow::Result;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use teraslice_benches::{Links, create, plan, run, run_over, worker_id};
use teraslice_core::{
    context::Context, execution::ExecutionEnd, link::WorkerLink, plan::Plan, store::StateStore,
};
use teraslice_elastic::{Client, Settings};
use teraslice_rpc::{
    Peer,
    link::{ConnectOptions, ListenOptions, connect, listen},
    master::{MasterOptions, serve},
    secret::ClusterKey,
    store::{RemoteOptions, RemoteStore},
};
use teraslice_store::{ElasticOptions, ElasticStore, Indices, Shards, SqliteOptions, SqliteStore};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

const SLICES: u64 = 200_000;
/// Names a search server that can keep the ledger too, such as `http://127.0.0.1:9200`.
const SERVER: &str = "TERASLICE_TEST_ELASTIC";

/// What a master offers to controllers: its store, on a port.
struct Master {
    store: Arc<dyn StateStore>,
    key: ClusterKey,
    url: String,
}

impl Master {
    async fn start(store: Arc<dyn StateStore>, context: &Context) -> Result<Self> {
        let key = ClusterKey::draw()?;
        let nobody = watch::channel(None).1;
        let options = MasterOptions::new(key.clone(), Arc::clone(&store), Arc::new(move |_| nobody.clone()));
        let (router, _accepted) = serve::<(), ()>(options, context);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        drop(context.spawn(async move { axum::serve(listener, router).await }));
        Ok(Self { store, key, url })
    }

    /// Runs a job with every link over the network: controller to master, workers to controller.
    async fn run(&self, plan: &Plan, context: Context) -> Result<ExecutionEnd> {
        let ex_id = create(self.store.as_ref(), &context).await?;
        let secret = self.key.execution(ex_id);
        let store =
            RemoteStore::new(&Peer::new(&self.url), ex_id, &secret, RemoteOptions::default(), &context)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let controller = Peer::new(format!("http://{}", listener.local_addr()?));
        let link = listen(listener, ListenOptions::new(ex_id, secret.clone()), &context)?;
        let mut workers: Vec<Box<dyn WorkerLink>> = Vec::new();
        for ordinal in 0..plan.job().workers as usize {
            let options = ConnectOptions::new(ex_id, secret.clone(), worker_id(ordinal), 1);
            workers.push(Box::new(connect(&controller, &options, &context).await?));
        }
        let links = Links { controller: Box::new(link), workers };
        run_over(links, ex_id, plan, Arc::new(store), context).await
    }
}

fn dispatch(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be made");
    let job = json!({
        "name": "dispatch",
        "workers": 2,
        "operations": [{"_op": "tiny_reader", "slices": SLICES}, {"_op": "noop"}],
    });
    let plan = plan(&job).expect("the job is right");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let context = runtime.block_on(async { Context::system() });
    let options = SqliteOptions::new(context.clone());
    let store: Arc<dyn StateStore> =
        Arc::new(SqliteStore::open(folder.path(), options).expect("the store can be made"));
    let master = runtime.block_on(Master::start(Arc::clone(&store), &context)).expect("a port is free");
    let mut group = criterion.benchmark_group("dispatch_rpc");
    group.throughput(Throughput::Elements(SLICES)).sample_size(10);
    let check = |end: Result<ExecutionEnd>| {
        assert_eq!(end.expect("the run completes").stats.processed, SLICES);
    };
    group.bench_function("remote", |bencher| {
        bencher.iter(|| check(runtime.block_on(master.run(&plan, context.clone()))));
    });
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| check(runtime.block_on(run(&plan, Arc::clone(&store), context.clone()))));
    });
    match runtime.block_on(on_server(&context)) {
        Some(master) => {
            group.bench_function("remote_on_a_search_server", |bencher| {
                bencher.iter(|| check(runtime.block_on(master.run(&plan, context.clone()))));
            });
        }
        None => {
            let line = format!("NOT RUN: the ledger on a search server: set {SERVER} to its address\n");
            let _told = std::io::stderr().write_all(line.as_bytes());
        }
    }
    group.finish();
}

/// Starts a master that keeps its state on the search server, if there is one.
async fn on_server(context: &Context) -> Option<Master> {
    let url = std::env::var(SERVER).ok()?;
    let settings = Settings { nodes: vec![url.parse().expect("an address")], ..Settings::default() };
    let client = Client::new("default", settings).expect("a client can be made");
    let indices = Indices::alike(Shards { count: 1, replicas: 0 });
    let name = format!("bench-{}", std::process::id());
    let options = ElasticOptions { indices, ..ElasticOptions::new(context.clone(), name) };
    let store = ElasticStore::open(client, &options).await.expect("the server can keep state");
    Some(Master::start(Arc::new(store), context).await.expect("a port is free"))
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
