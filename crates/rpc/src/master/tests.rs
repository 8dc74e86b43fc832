//! Connections of controllers and nodes: messages, ends, silence, refusals.

use futures::{StreamExt, stream};
use serde::Deserialize;
use teraslice_core::control::{ControlCommand, FromController, ToController};
use teraslice_model::id::{Epoch, Generation};
use teraslice_store::MemoryStore;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::*;
use crate::{
    control,
    introduce::{Introduction, Stranger, introduce},
    locate, node,
    peer::{ConnectError, Peer},
    protocol,
    secret::Secret,
    serve::{Farewell, Server},
    tests::{Relay, ex, in_time, listener},
    wire::v1::{Envelope, master_client::MasterClient},
};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Up {
    Join { slots: u32 },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Down {
    Desired(Vec<String>),
}

struct Bench {
    context: Context,
    key: ClusterKey,
    peer: Peer,
    port: u16,
    accepted: Accepted<Up, Down>,
    located: watch::Sender<Option<Hello>>,
    _stop: tokio_util::sync::DropGuard,
}

impl Bench {
    async fn new(pulse: Pulse) -> Self {
        let context = Context::system();
        let (listener, port) = listener().await;
        let key = ClusterKey::draw().unwrap();
        let (located, known) = watch::channel(None);
        let store = Arc::new(MemoryStore::new(context.clone()));
        let mut options = MasterOptions::new(key.clone(), store, Arc::new(move |_| known.clone()));
        options.pulse = pulse;
        options.introduce = Some(Arc::new(|token| Box::pin(async move { introduction(&token) })));
        let (router, accepted) = serve(options, &context);
        let limit = Duration::from_secs(5);
        let router = Router::new().fallback(async || "the API's answer").merge(router);
        let server = Server {
            router,
            tls: None,
            context: context.clone(),
            hello_max: limit,
            ping_every: limit,
            ping_max: limit,
        };
        let stop = CancellationToken::new();
        drop(context.spawn(server.run(listener, stop.clone(), Farewell::new().0)));
        let mut peer = Peer::new(format!("http://127.0.0.1:{port}"));
        peer.pulse = pulse;
        Self { context, key, peer, port, accepted, located, _stop: stop.drop_guard() }
    }

    async fn node(&mut self) -> (Duplex<Down, Up>, Duplex<Up, Down>) {
        let secret = self.key.node("n1");
        let node = node::connect(&self.peer, "n1", &secret, &self.context).await.unwrap();
        let (name, accepted) = in_time(self.accepted.nodes.recv()).await.unwrap();
        assert_eq!(name, "n1");
        (node, accepted)
    }
}

fn introduction(token: &str) -> Result<Introduction, Stranger> {
    let reason = token.to_owned();
    match token {
        "known" => Ok(Introduction {
            secret: "word".to_owned(),
            job: serde_json::Map::from_iter([("name".to_owned(), "j".into())]),
            identity: None,
            bundle_token: Some("b".to_owned()),
        }),
        "later" => Err(Stranger::Unavailable { reason }),
        _ => Err(Stranger::Unknown { reason }),
    }
}

fn quick() -> Pulse {
    Pulse { every: Duration::from_millis(10), silence_max: Duration::from_millis(150) }
}

fn hello(port: u16) -> Hello {
    let log_level = Some("debug".to_owned());
    Hello { ex_id: ex(1), generation: Generation(2), epoch: Epoch(3), host: "h".to_owned(), port, log_level }
}

#[tokio::test]
async fn a_controller_and_the_master_talk() {
    let mut bench = Bench::new(Pulse::default()).await;
    let secret = bench.key.execution(ex(1));
    let mut controller = control::connect(&bench.peer, ex(1), &secret, &bench.context).await.unwrap();
    let (ex_id, mut session) = in_time(bench.accepted.controllers.recv()).await.unwrap();
    assert_eq!(ex_id, ex(1));
    controller.to.send(FromController::Hello(hello(9))).await.unwrap();
    assert_eq!(in_time(session.from.recv()).await, Some(FromController::Hello(hello(9))));
    let command = ToController::Command { number: 1, command: ControlCommand::LogLevel("debug".to_owned()) };
    session.to.send(command.clone()).await.unwrap();
    assert_eq!(in_time(controller.from.recv()).await, Some(command));
}

#[tokio::test]
async fn a_node_and_the_master_talk() {
    let mut bench = Bench::new(Pulse::default()).await;
    let (mut node, mut accepted) = bench.node().await;
    node.to.send(Up::Join { slots: 4 }).await.unwrap();
    assert_eq!(in_time(accepted.from.recv()).await, Some(Up::Join { slots: 4 }));
    accepted.to.send(Down::Desired(vec!["p".to_owned()])).await.unwrap();
    assert_eq!(in_time(node.from.recv()).await, Some(Down::Desired(vec!["p".to_owned()])));
}

#[tokio::test]
async fn the_last_words_of_both_sides_are_heard() {
    let mut bench = Bench::new(Pulse::default()).await;
    for is_node_leaving in [true, false] {
        let (mut node, mut accepted) = bench.node().await;
        if is_node_leaving {
            node.to.send(Up::Join { slots: 1 }).await.unwrap();
            drop(node);
            assert_eq!(in_time(accepted.from.recv()).await, Some(Up::Join { slots: 1 }));
            assert_eq!(in_time(accepted.from.recv()).await, None);
            in_time(accepted.to.closed()).await;
        } else {
            accepted.to.send(Down::Desired(Vec::new())).await.unwrap();
            drop(accepted);
            assert_eq!(in_time(node.from.recv()).await, Some(Down::Desired(Vec::new())));
            assert_eq!(in_time(node.from.recv()).await, None);
            in_time(node.to.closed()).await;
        }
    }
}

#[tokio::test]
async fn a_connection_ends_when_one_channel_does() {
    let mut bench = Bench::new(Pulse::default()).await;
    let (node, mut accepted) = bench.node().await;
    let Duplex { from, to } = node;
    drop(from);
    assert_eq!(in_time(accepted.from.recv()).await, None);
    in_time(to.closed()).await;
    let (node, mut accepted) = bench.node().await;
    let Duplex { mut from, to } = node;
    drop(to);
    assert_eq!(in_time(accepted.from.recv()).await, None);
    assert_eq!(in_time(from.recv()).await, None);
}

#[tokio::test]
async fn both_ends_notice_a_wire_that_is_cut_or_silent() {
    let mut bench = Bench::new(quick()).await;
    let relay = Relay::to(bench.port, &bench.context).await;
    bench.peer.endpoint = format!("http://127.0.0.1:{}", relay.port);
    for is_cut in [false, true] {
        relay.release();
        let (mut node, mut accepted) = bench.node().await;
        if is_cut {
            relay.cut()
        } else {
            relay.hold()
        }
        assert_eq!(in_time(node.from.recv()).await, None);
        assert_eq!(in_time(accepted.from.recv()).await, None);
        relay.cut();
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go_and_hears_signs_of_life_until_then() {
    let mut bench = Bench::new(quick()).await;
    let mut client = MasterClient::connect(bench.peer.endpoint.clone()).await.unwrap();
    let mut request = Request::new(stream::pending::<Envelope>());
    *request.metadata_mut() = protocol::metadata(&bench.key.node("n1"), &[(protocol::NODE, "n1")]).unwrap();
    let mut answer = client.node(request).await.unwrap().into_inner();
    let (_, mut accepted) = in_time(bench.accepted.nodes.recv()).await.unwrap();
    let mut signs = 0;
    while let Ok(Some(envelope)) = in_time(answer.message()).await {
        assert!(envelope.json.is_empty());
        signs += 1;
    }
    assert!(signs > 0, "{signs}");
    assert_eq!(in_time(accepted.from.recv()).await, None);
}

#[tokio::test]
async fn passes_over_what_it_does_not_understand() {
    let mut bench = Bench::new(Pulse::default()).await;
    let mut client = MasterClient::connect(bench.peer.endpoint.clone()).await.unwrap();
    let said = ["{\"Dance\":{}}", "nonsense", "{\"Join\":{\"slots\":2,\"later\":true}}"];
    let said = said.map(|json| Envelope { json: json.into() });
    let mut request = Request::new(stream::iter(said).chain(stream::pending()));
    *request.metadata_mut() = protocol::metadata(&bench.key.node("n1"), &[(protocol::NODE, "n1")]).unwrap();
    let _answer = client.node(request).await.unwrap();
    let (_, mut accepted) = in_time(bench.accepted.nodes.recv()).await.unwrap();
    assert_eq!(in_time(accepted.from.recv()).await, Some(Up::Join { slots: 2 }));
}

#[tokio::test]
async fn refuses_whoever_does_not_know_their_own_secret() {
    let mut bench = Bench::new(Pulse::default()).await;
    let foreign: [Secret; 3] = [bench.key.node("n2"), bench.key.execution(ex(1)), Secret::from_text("")];
    for secret in foreign {
        let refused = node::connect::<Down, Up>(&bench.peer, "n1", &secret, &bench.context).await;
        assert!(matches!(refused, Err(ConnectError::Secret)), "{refused:?}");
        let refused = control::connect(&bench.peer, ex(2), &secret, &bench.context).await;
        assert!(matches!(refused, Err(ConnectError::Secret)), "{refused:?}");
        let refused = locate::watch(&bench.peer, ex(2), &secret).await;
        assert!(matches!(refused, Err(ConnectError::Secret)), "{refused:?}");
    }
    assert!(bench.accepted.nodes.try_recv().is_err(), "nobody was let in");
    assert!(bench.accepted.controllers.try_recv().is_err(), "nobody was let in");
}

#[tokio::test]
async fn says_so_when_the_other_side_is_no_master() {
    let (listener, port) = listener().await;
    let context = Context::system();
    let limit = Duration::from_secs(5);
    let server = Server {
        router: Router::new(),
        tls: None,
        context: context.clone(),
        hello_max: limit,
        ping_every: limit,
        ping_max: limit,
    };
    let stop = CancellationToken::new();
    drop(context.spawn(server.run(listener, stop.clone(), Farewell::new().0)));
    let peer = Peer::new(format!("http://127.0.0.1:{port}"));
    let error = locate::watch(&peer, ex(1), &Secret::from_text("word")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection was refused: what listens there does not speak the protocol"
    );
}

#[tokio::test]
async fn tells_workers_where_their_controller_is_and_when_that_changes() {
    let bench = Bench::new(Pulse::default()).await;
    let secret = bench.key.execution(ex(1));
    let mut early = locate::watch(&bench.peer, ex(1), &secret).await.unwrap();
    bench.located.send_replace(Some(hello(1)));
    assert_eq!(in_time(early.next()).await, Some(hello(1)));
    let mut late = locate::watch(&bench.peer, ex(1), &secret).await.unwrap();
    assert_eq!(in_time(late.next()).await, Some(hello(1)));
    bench.located.send_replace(None);
    bench.located.send_replace(Some(hello(2)));
    for watch in [&mut early, &mut late] {
        assert_eq!(in_time(watch.next()).await, Some(hello(2)));
    }
    drop(bench);
    assert_eq!(in_time(early.next()).await, None);
}

#[tokio::test]
async fn introduces_those_whose_token_is_known() {
    let bench = Bench::new(Pulse::default()).await;
    let ask = async |token: &str| introduce(&bench.peer, &Secret::from_text(token)).await;
    assert_eq!(ask("known").await.unwrap(), introduction("known").unwrap());
    let refused = ask("other").await.unwrap_err();
    assert_eq!(refused.to_string(), "the connection was refused: the token is not accepted: other");
    assert!(ask("later").await.unwrap_err().is_passing());
}
