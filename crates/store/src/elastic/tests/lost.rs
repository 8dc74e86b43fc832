//! Answers that get lost on the way: what was done counts as done, and is done once.

use teraslice_model::access::{AccessRole, TokenRecord};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Passes requests on to a server, and loses the answer to one when it is told to.
struct Relay {
    client: Client,
    /// What stands in the request whose answer will be lost.
    loses: Arc<Mutex<Option<&'static str>>>,
}

impl Relay {
    async fn start(stage: &Stage) -> Self {
        let server = stage.client.settings().nodes[0].clone();
        let server = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let loses = Arc::default();
        let shared = Arc::clone(&loses);
        let context = Context::system();
        drop(context.clone().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&server).await.unwrap();
                drop(context.spawn(pass(near, far, Arc::clone(&shared))));
            }
        }));
        let settings = json!({"node": format!("http://{address}")});
        let settings = Settings::of(settings.as_object().unwrap()).unwrap();
        Self { client: Client::new("relay", settings).unwrap(), loses }
    }

    /// Loses the answer to the next request in which `mark` stands.
    fn lose(&self, mark: &'static str) {
        *self.loses.lock().unwrap() = Some(mark);
    }

    fn has_lost(&self) -> bool {
        self.loses.lock().unwrap().is_none()
    }
}

async fn pass(mut near: TcpStream, mut far: TcpStream, loses: Arc<Mutex<Option<&'static str>>>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_lost = false;
    loop {
        tokio::select! {
            Ok(len) = near.read(&mut asked) => {
                is_lost |= takes(&loses, &asked[..len]);
                if len == 0 || far.write_all(&asked[..len]).await.is_err() {
                    return;
                }
            }
            Ok(len) = far.read(&mut answered) => {
                if len == 0 || is_lost || near.write_all(&answered[..len]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

/// Tells whether the answer to a request is the one to lose.
fn takes(loses: &Mutex<Option<&'static str>>, request: &[u8]) -> bool {
    let mut mark = loses.lock().unwrap();
    let is_it = mark.is_some_and(|mark| String::from_utf8_lossy(request).contains(mark));
    if is_it {
        *mark = None;
    }
    is_it
}

#[tokio::test]
async fn does_each_thing_once() {
    for stage in Stage::all() {
        let relay = Relay::start(&stage).await;
        let options = ElasticOptions { settle_interval: Duration::from_secs(3_600), ..stage.options() };
        let store = ElasticStore::open(relay.client.clone(), &options).await.unwrap();
        let id = execution(1).ex_id;
        relay.lose("__ex/_create");
        store.create_execution(execution(1)).await.unwrap();
        let refused = store.create_execution(execution(1)).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        let token = TokenRecord {
            name: "ops".to_owned(),
            role: AccessRole::Read,
            hash: "00".to_owned(),
            created: execution(1).created,
        };
        relay.lose("__access/_create");
        store.create_token(token.clone()).await.unwrap();
        assert!(store.create_token(token).await.is_err());
        let generation = execution(1).generation;
        let writer = Writer { generation, epoch: store.begin_epoch(id, generation).await.unwrap() };
        let done = slice(id, 0, 1, SliceState::Completed);
        let letter = DeadLetter {
            slice_id: done.slice.id,
            operation: 1,
            op: "filter".to_owned(),
            reason: "refused".to_owned(),
            record: "{}".to_owned(),
            encoding: Encoding::Text,
            metadata: None,
        };
        let flush = Flush { slices: vec![done], dead_letters: vec![letter], ..Flush::default() };
        relay.lose("__ledger/_create");
        store.append(id, writer, flush).await.unwrap();
        assert!(relay.has_lost());
        assert_eq!(store.slice_counts(id).await.unwrap().completed, 1);
        let entries = format!("/{}__ledger/_refresh", stage.name);
        stage.ask(Request::post(entries)).await;
        let entries = stage.ask(Request::get(format!("/{}__ledger/_count", stage.name))).await;
        assert_eq!(entries["count"], 2, "the barrier and the append");
        let numbers: Vec<_> = store.dead_letters(id, Letters::All, ALL).await.unwrap();
        let claim = Claim { numbers: vec![numbers[0].number], from: None, by: execution(2).ex_id };
        relay.lose("_bulk");
        let claimed = store.claim_dead_letters(id, claim.clone()).await.unwrap();
        assert_eq!((claimed, relay.has_lost()), (1, true));
        assert_eq!(store.claim_dead_letters(id, claim).await.unwrap(), 0);
        stage.clear().await;
    }
}

#[tokio::test]
async fn changes_a_status_once() {
    for stage in Stage::all() {
        let relay = Relay::start(&stage).await;
        let store = ElasticStore::open(relay.client.clone(), &stage.options()).await.unwrap();
        let made = execution(1);
        let id = made.ex_id;
        store.create_execution(made).await.unwrap();
        let change = StatusChange::new(Status::Pending, Status::Running);
        relay.lose("if_seq_no");
        store.set_status(id, change.clone()).await.unwrap();
        assert!(relay.has_lost());
        let before = store.execution(id).await.unwrap().unwrap().epoch;
        relay.lose("if_seq_no");
        assert_eq!(store.begin_epoch(id, Generation(1)).await.unwrap(), before.next());
        assert_eq!(store.execution(id).await.unwrap().unwrap().epoch, before.next());
        assert_eq!(store.execution(id).await.unwrap().unwrap().status, Status::Running);
        let refused = store.set_status(id, change).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        stage.clear().await;
    }
}
