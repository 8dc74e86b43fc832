//! The laws of a store, kept over a network too, and what happens when the network fails.

use std::{sync::Arc, time::Duration};

use futures::stream;
use teraslice_core::{
    conformance::store::{self as laws, execution, record},
    context::Context,
    store::{Flush, JobQuery, Letters, Page, StateStore, StatusChange, StoreError, Totals, Writer},
};
use teraslice_model::{
    checkpoint::Checkpoint,
    counts::Counts,
    dead_letter::{DeadLetter, Encoding},
    id::{Epoch, ExId, Generation},
    slice::SliceState,
    status::Status,
};
use teraslice_store::{MemoryStore, SqliteOptions, SqliteStore};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

use super::*;
use crate::{
    master::{MasterOptions, serve},
    peer::Peer,
    protocol,
    secret::ClusterKey,
    serve::{Farewell, Server},
    tests::{Relay, in_time, listener},
    tls::{Authority, Identity},
    wire::{self, failure, v1},
};

const FIRST: Writer = Writer { generation: Generation(1), epoch: Epoch(0) };
const ALL: Page = Page { from: 0, size: u64::MAX };

struct Bench {
    context: Context,
    store: Arc<dyn StateStore>,
    key: ClusterKey,
    peer: Peer,
    port: u16,
    serving: Option<(CancellationToken, Farewell)>,
    access: Access,
    identity: Option<Identity>,
}

impl Bench {
    async fn new(access: Access, store: Arc<dyn StateStore>) -> Self {
        let (listener, port) = listener().await;
        let mut bench = Self {
            context: Context::system(),
            store,
            key: ClusterKey::draw().unwrap(),
            peer: Peer::new(format!("http://127.0.0.1:{port}")),
            port,
            serving: None,
            access,
            identity: None,
        };
        bench.serve(listener);
        bench
    }

    async fn own() -> Self {
        Self::new(Access::OwnExecution, memory()).await
    }

    fn serve(&mut self, listener: TcpListener) {
        let nobody = watch::channel(None).1;
        let locate = Arc::new(move |_| nobody.clone());
        let mut options = MasterOptions::new(self.key.clone(), Arc::clone(&self.store), locate);
        options.access = self.access;
        let (router, _accepted) = serve::<(), ()>(options, &self.context);
        let limit = Duration::from_secs(5);
        let tls = self.identity.as_ref().map(|identity| identity.server_config(&[b"h2"]).unwrap());
        let context = self.context.clone();
        let server = Server { router, tls, context, hello_max: limit, ping_every: limit, ping_max: limit };
        let (is_open, farewell) = Farewell::new();
        let stop = CancellationToken::new();
        drop(self.context.spawn(server.run(listener, stop.clone(), is_open)));
        self.serving = Some((stop, farewell));
    }

    async fn stop(&mut self) {
        let (stop, farewell) = self.serving.take().expect("the server runs");
        stop.cancel();
        in_time(farewell.wait()).await;
    }

    async fn start(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }

    fn remote(&self, ex_id: ExId, options: RemoteOptions) -> RemoteStore {
        let secret = self.key.execution(ex_id);
        RemoteStore::new(&self.peer, ex_id, &secret, options, &self.context).unwrap()
    }

    /// Sends parts of a flush as they are.
    async fn append_raw(&self, id: ExId, parts: Vec<v1::FlushPart>) -> Result<v1::AppendReply, Code> {
        let mut client = v1::store_client::StoreClient::connect(self.peer.endpoint.clone()).await.unwrap();
        let mut request = Request::new(stream::iter(parts));
        let secret = self.key.execution(id);
        *request.metadata_mut() =
            protocol::metadata(&secret, &[(protocol::EXECUTION, &id.to_string())]).unwrap();
        let reply = in_time(client.append(request)).await;
        reply.map(tonic::Response::into_inner).map_err(|status| status.code())
    }
}

fn memory() -> Arc<dyn StateStore> {
    Arc::new(MemoryStore::new(Context::system()))
}

/// Options of somebody who does not wait.
fn hasty() -> RemoteOptions {
    RemoteOptions { call_max: Duration::from_secs(1), repeat_max: Duration::ZERO, ..RemoteOptions::default() }
}

async fn create(store: &dyn StateStore, number: u8) -> ExId {
    store.create_execution(execution(number)).await.unwrap();
    execution(number).ex_id
}

fn flush(id: ExId, order: u64) -> Flush {
    let done = record(id, 0, order, SliceState::Completed);
    let letter = DeadLetter {
        slice_id: done.slice.id,
        operation: 1,
        op: "filter".to_owned(),
        reason: "no".to_owned(),
        record: "x".to_owned(),
        encoding: Encoding::Text,
        metadata: None,
    };
    Flush {
        slices: vec![done, record(id, 0, order + 1, SliceState::Pending)],
        checkpoints: vec![Checkpoint { order, ..Checkpoint::start(0) }],
        dead_letters: vec![letter],
        totals: Totals { completed: order, failed: 0, operations: vec![Counts::default()] },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_a_store() {
    laws::run(async || {
        let bench = Bench::new(Access::Everything, memory()).await;
        let remote = bench.remote(execution(1).ex_id, RemoteOptions::default());
        // The server lives as long as the test's runtime.
        std::mem::forget(bench);
        Arc::new(remote) as Arc<dyn StateStore>
    })
    .await;
}

#[tokio::test]
async fn a_flush_that_is_written_twice_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(folder.path(), SqliteOptions::new(Context::system())).unwrap();
    for store in [memory(), Arc::new(sqlite)] {
        let bench = Bench::new(Access::OwnExecution, store).await;
        let id = create(&*bench.store, 1).await;
        let remote = bench.remote(id, RemoteOptions::default());
        let mut seen = Vec::new();
        for _ in 0..2 {
            remote.append(id, FIRST, flush(id, 1)).await.unwrap();
            let letters = remote.dead_letters(id, Letters::All, ALL).await.unwrap();
            let letters: Vec<_> = letters.into_iter().map(|kept| kept.letter).collect();
            let (ledger, counts) = (remote.ledger(id).await.unwrap(), remote.slice_counts(id).await.unwrap());
            seen.push((ledger, counts, letters));
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!((seen[1].1.pending, seen[1].1.completed, seen[1].2.len()), (1, 1, 1));
    }
}

#[tokio::test]
async fn a_controller_reaches_its_own_execution_and_reads_others() {
    let bench = Bench::own().await;
    let (own, other) = (create(&*bench.store, 1).await, create(&*bench.store, 2).await);
    let remote = bench.remote(own, RemoteOptions::default());
    remote.append(own, FIRST, flush(own, 1)).await.unwrap();
    remote.begin_epoch(own, FIRST.generation).await.unwrap();
    assert!(remote.execution(other).await.unwrap().is_some());
    assert_eq!(remote.ledger(other).await.unwrap().unfinished, []);
    let change = StatusChange::new(Status::Pending, Status::Running);
    remote.set_status(own, change.clone()).await.unwrap();
    let refusals = [
        remote.append(other, FIRST, flush(other, 1)).await.err(),
        remote.begin_epoch(other, FIRST.generation).await.err(),
        remote.set_status(other, change).await.err(),
        remote.jobs(JobQuery::default()).await.err(),
        remote.tokens().await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(StoreError::Broken { .. })), "{refusal:?}");
    }
    assert_eq!(bench.store.execution(other).await.unwrap(), Some(execution(2)));
}

#[tokio::test]
async fn refuses_a_foreign_secret_for_good() {
    let bench = Bench::own().await;
    let id = create(&*bench.store, 1).await;
    let secret = ClusterKey::draw().unwrap().execution(id);
    let remote =
        RemoteStore::new(&bench.peer, id, &secret, RemoteOptions::default(), &bench.context).unwrap();
    let refusals = [remote.ledger(id).await.err(), remote.append(id, FIRST, flush(id, 1)).await.err()];
    for refusal in refusals {
        let text = refusal.unwrap().to_string();
        assert!(text.contains("does not know the secret"), "{text}");
    }
}

#[tokio::test]
async fn goes_on_after_the_master_was_started_again() {
    let mut bench = Bench::own().await;
    let id = create(&*bench.store, 1).await;
    let (patient, hasty) = (bench.remote(id, RemoteOptions::default()), bench.remote(id, hasty()));
    patient.append(id, FIRST, flush(id, 1)).await.unwrap();
    bench.stop().await;
    let refused = hasty.ledger(id).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let refused = patient.append(id, FIRST, flush(id, 2)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let asked = patient.ledger(id);
    let (ledger, ()) = tokio::join!(in_time(asked), bench.start());
    assert_eq!(ledger.unwrap().totals.completed, 1, "it was waited for");
    in_time(patient.append(id, FIRST, flush(id, 2))).await.unwrap();
    assert_eq!(bench.store.ledger(id).await.unwrap().totals.completed, 2);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_passing_failure() {
    let mut bench = Bench::own().await;
    let id = create(&*bench.store, 1).await;
    let relay = Relay::to(bench.port, &bench.context).await;
    bench.peer.endpoint = format!("http://127.0.0.1:{}", relay.port);
    let remote = bench.remote(id, hasty());
    remote.append(id, FIRST, flush(id, 1)).await.unwrap();
    relay.hold();
    let refused = in_time(remote.append(id, FIRST, flush(id, 2))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    relay.release();
    // Again, as the driver does: the first may have arrived by now, or may be late.
    let mut flushed = remote.append(id, FIRST, flush(id, 2)).await;
    while matches!(flushed, Err(StoreError::Unavailable { .. })) {
        flushed = in_time(remote.append(id, FIRST, flush(id, 2))).await;
    }
    flushed.unwrap();
    assert_eq!(bench.store.ledger(id).await.unwrap().totals.completed, 2);
}

#[tokio::test]
async fn refuses_a_flush_that_comes_after_a_later_one() {
    let bench = Bench::own().await;
    let id = create(&*bench.store, 1).await;
    let numbered = |number, order| {
        let mut parts = wire::flush_parts(id, FIRST, flush(id, order), 1 << 20);
        (parts[0].client, parts[0].number) = (7, number);
        parts
    };
    for (number, order) in [(1, 1), (3, 3)] {
        assert_eq!(bench.append_raw(id, numbered(number, order)).await, Ok(v1::AppendReply::default()));
    }
    let late = bench.append_raw(id, numbered(2, 2)).await.unwrap();
    assert!(matches!(failure::read(&late.failure), StoreError::Unavailable { .. }));
    assert_eq!(bench.store.ledger(id).await.unwrap().totals.completed, 3);
}

#[tokio::test]
async fn writes_nothing_of_a_flush_that_was_cut_off() {
    let bench = Bench::own().await;
    let id = create(&*bench.store, 1).await;
    let mut parts = wire::flush_parts(id, FIRST, flush(id, 1), 0);
    assert!(parts.len() > 2);
    drop(parts.pop());
    assert_eq!(bench.append_raw(id, parts).await, Err(Code::Cancelled));
    assert_eq!(bench.append_raw(id, Vec::new()).await, Err(Code::Cancelled));
    assert_eq!(bench.store.ledger(id).await.unwrap(), teraslice_core::store::Ledger::default());
}

#[tokio::test]
async fn carries_what_is_larger_than_a_message() {
    let mut bench = Bench::own().await;
    bench.peer.message_len_max = 200 << 10;
    let id = create(&*bench.store, 1).await;
    let remote = bench.remote(id, RemoteOptions::default());
    let slices: Vec<_> = (1..=30_000).map(|order| record(id, 0, order, SliceState::Pending)).collect();
    let large = Flush { slices, ..Flush::default() };
    remote.append(id, FIRST, large.clone()).await.unwrap();
    assert_eq!(remote.slices(id, SliceState::Pending, ALL).await.unwrap(), large.slices);
    assert_eq!(remote.ledger(id).await.unwrap().unfinished.len(), 30_000);
}

#[tokio::test]
async fn is_reached_by_tls() {
    let mut bench = Bench::own().await;
    let id = create(&*bench.store, 1).await;
    let authority = Authority::make().unwrap();
    bench.stop().await;
    bench.identity = Some(authority.issue(&["localhost".to_owned()]).unwrap());
    bench.start().await;
    bench.peer.endpoint = format!("https://localhost:{}", bench.port);
    bench.peer.ca_pem = Some(authority.cert_pem().to_owned());
    assert!(bench.remote(id, RemoteOptions::default()).execution(id).await.unwrap().is_some());
    bench.peer.ca_pem = Some(Authority::make().unwrap().cert_pem().to_owned());
    let refused = bench.remote(id, hasty()).execution(id).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
}
