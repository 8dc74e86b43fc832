//! The link's laws, what happens to those who do not belong, and what cut wires do.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, stream};
use teraslice_core::{
    conformance::link::{self, Ends},
    context::Context,
    link::{
        ControllerLink, FromWorker, LinkClosed, LinkEvent, Outcome, Session, SliceResult, ToWorker,
        WorkerLink,
    },
};
use teraslice_model::id::SliceId;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::{Code, Request, metadata::MetadataMap};

use super::*;
use crate::{
    peer::{ConnectError, Peer},
    protocol,
    secret::ClusterKey,
    tests::{Relay, ex, in_time, listener},
    tls::Authority,
    wire::v1::{WorkerBatch, WorkerMessage, link_client::LinkClient},
};

struct Bench {
    context: Context,
    options: ListenOptions,
    peer: Peer,
    port: u16,
}

impl Bench {
    /// A controller that listens, and how it is reached.
    async fn new(change: impl FnOnce(&mut ListenOptions)) -> (Self, GrpcController) {
        let context = Context::system();
        let mut options = ListenOptions::new(ex(1), ClusterKey::draw().unwrap().execution(ex(1)));
        change(&mut options);
        let (listener, port) = listener().await;
        let controller = listen(listener, options.clone(), &context).unwrap();
        let scheme = if options.identity.is_some() { "https" } else { "http" };
        let mut peer = Peer::new(format!("{scheme}://127.0.0.1:{port}"));
        (peer.ping_every, peer.ping_max) = (options.ping_every, options.ping_max);
        (Self { context, options, peer, port }, controller)
    }

    fn worker(&self, name: &str, incarnation: u64) -> ConnectOptions {
        let secret = self.options.secret.clone();
        let wait_max = Duration::ZERO;
        ConnectOptions { wait_max, ..ConnectOptions::new(ex(1), secret, WorkerId::new(name), incarnation) }
    }

    async fn connect(&self, options: &ConnectOptions) -> Result<GrpcWorker, ConnectError> {
        in_time(connect(&self.peer, options, &self.context)).await
    }

    /// A call that this version would not make.
    async fn call(
        &self,
        change: impl FnOnce(&mut MetadataMap),
        messages: Vec<WorkerMessage>,
    ) -> Result<(), Code> {
        let mut client = LinkClient::connect(self.peer.endpoint.clone()).await.unwrap();
        let mut request = Request::new(stream::iter([WorkerBatch { messages }]).chain(stream::pending()));
        let names = [
            (protocol::EXECUTION, ex(1).to_string()),
            (protocol::WORKER, "raw".to_owned()),
            (protocol::INCARNATION, "1".to_owned()),
        ];
        let names = names.each_ref().map(|(key, name)| (*key, name.as_str()));
        *request.metadata_mut() = protocol::metadata(&self.options.secret, &names).unwrap();
        change(request.metadata_mut());
        let mut answer = in_time(client.work(request)).await.map_err(|status| status.code())?.into_inner();
        drop(self.context.spawn(async move { while let Ok(Some(_)) = answer.message().await {} }));
        Ok(())
    }
}

async fn event(controller: &mut GrpcController) -> LinkEvent {
    in_time(controller.next()).await.expect("a link that goes on")
}

async fn opened(controller: &mut GrpcController) -> Session {
    match event(controller).await {
        LinkEvent::Opened { session } => session,
        other => panic!("{other:?} instead of a new session"),
    }
}

/// Returns the credits that a session gives until it closes.
async fn credits_until_closed(controller: &mut GrpcController, session: Session) -> Vec<u32> {
    let mut credits = Vec::new();
    loop {
        match event(controller).await {
            LinkEvent::Message { session: of, message: FromWorker::Credit(credit) } if of == session => {
                credits.push(credit);
            }
            LinkEvent::Closed { session: of, .. } if of == session => return credits,
            other => panic!("{other:?} instead of a credit"),
        }
    }
}

fn result(order: u64) -> SliceResult {
    SliceResult {
        slice_id: SliceId::derive(ex(1), 0, order),
        attempt: 0,
        outcome: Outcome::Completed,
        retry_count: 0,
        operations: Vec::new(),
        dead_letters: Vec::new(),
    }
}

async fn keeps_the_laws(change: impl Fn(&mut ListenOptions), ca_pem: Option<String>) {
    let count = std::sync::atomic::AtomicU64::new(0);
    let count = Arc::new(count);
    link::run(async || {
        let (mut bench, controller) = Bench::new(&change).await;
        bench.peer.ca_pem.clone_from(&ca_pem);
        let (bench, count) = (Arc::new(bench), Arc::clone(&count));
        let connect = move || {
            // The suite's workers share a name; here each is one of its own.
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let bench = Arc::clone(&bench);
            let connecting = async move {
                let options = bench.worker(&format!("worker-{number}"), 1);
                let worker = bench.connect(&options).await.map_err(|_| LinkClosed)?;
                Ok(Box::new(worker) as Box<dyn WorkerLink>)
            };
            connecting.boxed()
        };
        Ends { controller: Box::new(controller), connect: Box::new(connect) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_a_link() {
    keeps_the_laws(|_| {}, None).await;
}

#[tokio::test]
async fn keeps_the_laws_of_a_link_by_tls() {
    let authority = Authority::make().unwrap();
    let identity = authority.issue(&["127.0.0.1".to_owned()]).unwrap();
    let change = |options: &mut ListenOptions| options.identity = Some(identity.clone());
    keeps_the_laws(change, Some(authority.cert_pem().to_owned())).await;
}

#[tokio::test]
async fn refuses_the_certificate_of_a_foreign_authority() {
    let (ours, theirs) = (Authority::make().unwrap(), Authority::make().unwrap());
    let identity = theirs.issue(&["127.0.0.1".to_owned()]).unwrap();
    let (mut bench, _controller) = Bench::new(|options| options.identity = Some(identity)).await;
    for ca_pem in [None, Some(ours.cert_pem().to_owned())] {
        bench.peer.ca_pem = ca_pem;
        let error = bench.connect(&bench.worker("w", 1)).await.unwrap_err();
        let chain = format!("{error:?}");
        assert!(chain.contains("InvalidCertificate"), "{chain}");
    }
    bench.peer.ca_pem = Some(theirs.cert_pem().to_owned());
    let _worker = bench.connect(&bench.worker("w", 1)).await.expect("its own authority is trusted");
}

#[tokio::test]
async fn refuses_a_certificate_for_another_name() {
    let authority = Authority::make().unwrap();
    let identity = authority.issue(&["elsewhere".to_owned()]).unwrap();
    let (mut bench, _controller) = Bench::new(|options| options.identity = Some(identity)).await;
    bench.peer.ca_pem = Some(authority.cert_pem().to_owned());
    let error = bench.connect(&bench.worker("w", 1)).await.unwrap_err();
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
}

#[tokio::test]
async fn refuses_a_worker_that_does_not_know_the_secret() {
    let (bench, mut controller) = Bench::new(|_| {}).await;
    let secret = ClusterKey::draw().unwrap().execution(ex(1));
    let error = bench.connect(&ConnectOptions { secret, ..bench.worker("w", 1) }).await.unwrap_err();
    assert!(matches!(error, ConnectError::Secret), "{error:?}");
    assert!(controller.next().now_or_never().is_none(), "nobody was let in");
}

#[tokio::test]
async fn refuses_a_worker_of_another_execution() {
    let (bench, _controller) = Bench::new(|_| {}).await;
    let error = bench.connect(&ConnectOptions { ex_id: ex(2), ..bench.worker("w", 1) }).await.unwrap_err();
    let wanted = format!("the connection was refused: this is the controller of execution {}", ex(1));
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn refuses_a_worker_of_another_major_version_only() {
    let (bench, mut controller) = Bench::new(|_| {}).await;
    let say = |version: &'static str| {
        move |metadata: &mut MetadataMap| {
            metadata.insert(protocol::VERSION, version.parse().unwrap());
        }
    };
    assert_eq!(bench.call(say("2.0"), Vec::new()).await, Err(Code::FailedPrecondition));
    assert_eq!(bench.call(say("1.99"), Vec::new()).await, Ok(()));
    opened(&mut controller).await;
}

#[tokio::test]
async fn passes_over_messages_of_a_later_minor_version() {
    let (bench, mut controller) = Bench::new(|_| {}).await;
    let messages = vec![WorkerMessage { what: None }, FromWorker::Credit(7).into()];
    assert_eq!(bench.call(|_| {}, messages).await, Ok(()));
    let session = opened(&mut controller).await;
    let heard = event(&mut controller).await;
    assert_eq!(heard, LinkEvent::Message { session, message: FromWorker::Credit(7) });
}

#[tokio::test]
async fn closes_a_session_whose_message_is_too_long_and_goes_on() {
    let (bench, mut controller) = Bench::new(|options| options.message_len_max = 1_000).await;
    let long = FromWorker::Hello { worker: WorkerId::new("w".repeat(2 << 20)) };
    assert_eq!(bench.call(|_| {}, vec![long.into()]).await, Ok(()));
    let session = opened(&mut controller).await;
    assert_eq!(event(&mut controller).await, LinkEvent::Closed { session, is_dead: false });
    let mut worker = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let session = opened(&mut controller).await;
    worker.send(FromWorker::Heartbeat).await.unwrap();
    let heard = event(&mut controller).await;
    assert_eq!(heard, LinkEvent::Message { session, message: FromWorker::Heartbeat });
}

#[tokio::test]
async fn tells_an_earlier_incarnation_that_it_was_replaced() {
    let (bench, mut controller) = Bench::new(|_| {}).await;
    let mut earlier = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let first = opened(&mut controller).await;
    let _later = bench.connect(&bench.worker("w", 2)).await.unwrap();
    let mut events = [event(&mut controller).await, event(&mut controller).await];
    events.sort_by_key(|event| matches!(event, LinkEvent::Opened { .. }));
    assert_eq!(events[0], LinkEvent::Closed { session: first, is_dead: false });
    assert_eq!(in_time(earlier.recv()).await, None);
    let error = bench.connect(&bench.worker("w", 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "this process was replaced: incarnation 2 of w has connected, this is 1");
    assert!(matches!(error, ConnectError::Replaced { .. }));
}

#[tokio::test]
async fn lets_the_same_incarnation_come_back_after_a_cut() {
    let (mut bench, mut controller) = Bench::new(|_| {}).await;
    let relay = Relay::to(bench.port, &bench.context).await;
    bench.peer.endpoint = format!("http://127.0.0.1:{}", relay.port);
    let mut worker = bench.connect(&bench.worker("w", 5)).await.unwrap();
    let first = opened(&mut controller).await;
    relay.cut();
    assert_eq!(event(&mut controller).await, LinkEvent::Closed { session: first, is_dead: false });
    assert_eq!(in_time(worker.recv()).await, None);
    relay.release();
    let _again = bench.connect(&bench.worker("w", 5)).await.unwrap();
    assert_ne!(opened(&mut controller).await, first);
}

#[tokio::test]
async fn closes_sessions_both_of_whose_ends_hear_nothing() {
    let (mut bench, mut controller) = Bench::new(|options| {
        options.ping_every = Duration::from_millis(20);
        options.ping_max = Duration::from_millis(500);
    })
    .await;
    let relay = Relay::to(bench.port, &bench.context).await;
    bench.peer.endpoint = format!("http://127.0.0.1:{}", relay.port);
    let mut worker = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let session = opened(&mut controller).await;
    relay.hold();
    assert_eq!(event(&mut controller).await, LinkEvent::Closed { session, is_dead: false });
    assert_eq!(in_time(worker.recv()).await, None);
    assert_eq!(in_time(worker.send(FromWorker::Heartbeat)).await, Err(LinkClosed));
}

#[tokio::test]
async fn survives_a_wire_that_is_held_up_for_a_while() {
    let (mut bench, mut controller) = Bench::new(|_| {}).await;
    let relay = Relay::to(bench.port, &bench.context).await;
    bench.peer.endpoint = format!("http://127.0.0.1:{}", relay.port);
    let mut worker = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let session = opened(&mut controller).await;
    relay.hold();
    worker.send(FromWorker::Credit(1)).await.unwrap();
    controller.send(session, ToWorker::Drain);
    relay.release();
    let heard = event(&mut controller).await;
    assert_eq!(heard, LinkEvent::Message { session, message: FromWorker::Credit(1) });
    assert_eq!(in_time(worker.recv()).await, Some(ToWorker::Drain));
}

#[tokio::test]
async fn what_has_arrived_before_a_cut_is_heard_in_order_and_whole() {
    let (mut bench, mut controller) = Bench::new(|_| {}).await;
    let relay = Relay::to(bench.port, &bench.context).await;
    bench.peer.endpoint = format!("http://127.0.0.1:{}", relay.port);
    let mut worker = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let session = opened(&mut controller).await;
    let sending = bench.context.spawn(async move {
        let mut credit = 0;
        while worker.send(FromWorker::Credit(credit)).await.is_ok() {
            credit += 1;
            tokio::task::yield_now().await;
        }
    });
    let mut heard = 0;
    while heard < 100 {
        let credit = event(&mut controller).await;
        assert_eq!(credit, LinkEvent::Message { session, message: FromWorker::Credit(heard) });
        heard += 1;
    }
    relay.cut();
    let rest = credits_until_closed(&mut controller, session).await;
    assert_eq!(rest, (heard..heard + u32::try_from(rest.len()).unwrap()).collect::<Vec<_>>());
    in_time(sending).await.unwrap();
}

#[tokio::test]
async fn a_farewell_is_over_when_the_last_words_have_arrived() {
    let (bench, mut controller) = Bench::new(|_| {}).await;
    let mut worker = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let session = opened(&mut controller).await;
    let farewell = worker.farewell();
    let hearing = bench.context.spawn(async move {
        let mut results = Vec::new();
        while let LinkEvent::Message { message: FromWorker::Results(some), .. } = event(&mut controller).await
        {
            results.extend(some);
        }
        (controller, results)
    });
    for order in 0..1_000 {
        worker.send(FromWorker::Results(vec![result(order)])).await.unwrap();
    }
    drop(worker);
    in_time(farewell.wait()).await;
    let (mut controller, results) = in_time(hearing).await.unwrap();
    assert_eq!(results, (0..1_000).map(result).collect::<Vec<_>>());
    controller.send(session, ToWorker::Drain);
}

#[tokio::test]
async fn a_controller_that_ends_is_heard_to_the_end() {
    let (bench, mut controller) = Bench::new(|_| {}).await;
    let mut worker = bench.connect(&bench.worker("w", 1)).await.unwrap();
    let session = opened(&mut controller).await;
    let farewell = controller.farewell();
    controller.send(session, ToWorker::Finished);
    drop(controller);
    in_time(farewell.wait()).await;
    assert_eq!(in_time(worker.recv()).await, Some(ToWorker::Finished));
    assert_eq!(in_time(worker.recv()).await, None);
    assert!(bench.connect(&bench.worker("w", 1)).await.unwrap_err().is_passing(), "nobody listens any more");
}

#[tokio::test]
async fn waits_for_a_controller_that_does_not_listen_yet() {
    let (bench, mut earlier) = Bench::new(|_| {}).await;
    let farewell = earlier.farewell();
    drop(earlier);
    in_time(farewell.wait()).await;
    let options = ConnectOptions { wait_max: crate::tests::PATIENCE, ..bench.worker("w", 1) };
    let late = async {
        tokio::task::yield_now().await;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", bench.port)).await.unwrap();
        listen(listener, bench.options.clone(), &bench.context).unwrap()
    };
    let (worker, mut controller) = tokio::join!(bench.connect(&options), late);
    worker.unwrap();
    opened(&mut controller).await;
}

#[tokio::test]
async fn closes_a_connection_that_never_says_who_it_is() {
    let (bench, _controller) = Bench::new(|options| options.hello_max = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(("127.0.0.1", bench.port)).await.unwrap();
    let mut answer = Vec::new();
    // The connection ends, with or without an error.
    let _ended = in_time(stream.read_to_end(&mut answer)).await;
}
