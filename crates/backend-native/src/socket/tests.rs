//! The link's laws, and what happens to those who do not belong.

use std::os::unix::fs::PermissionsExt;

use futures::FutureExt;
use teraslice_core::{
    conformance::link::{self, Ends},
    context::Context,
    link::{ControllerLink, FromWorker, LinkClosed, LinkEvent, Outcome, SliceResult, WorkerLink},
};
use teraslice_model::{
    dead_letter::{DeadLetter, Encoding},
    id::{ExId, SliceId, WorkerId},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    context: Context,
    options: SocketOptions,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let options = SocketOptions {
            connect_max: Duration::from_millis(200),
            death_max: Duration::from_millis(20),
            ..SocketOptions::new(Secret::draw().unwrap())
        };
        Self { context: Context::system(), options, directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        path(&self.directory.path().join("run"), ExId::from_random([1; 16]))
    }

    fn listen(&self) -> SocketController {
        listen(&self.path(), self.options.clone(), &self.context).unwrap()
    }

    async fn connect(&self) -> Result<SocketWorker, SocketError> {
        connect(&self.path(), self.options.clone(), &self.context).await
    }
}

async fn event(controller: &mut SocketController) -> LinkEvent {
    timeout(PATIENCE, controller.next()).await.expect("an event in time").expect("a link that goes on")
}

async fn opened(controller: &mut SocketController) -> teraslice_core::link::Session {
    match event(controller).await {
        LinkEvent::Opened { session } => session,
        other => panic!("{other:?} instead of a new session"),
    }
}

#[tokio::test]
async fn keeps_the_laws_of_a_link() {
    link::run(async || {
        let bench = Bench::new();
        let controller = Box::new(bench.listen());
        let bench = std::sync::Arc::new(bench);
        let connect = move || {
            let bench = std::sync::Arc::clone(&bench);
            let connecting = async move {
                let worker = bench.connect().await.map_err(|_| LinkClosed)?;
                Ok(Box::new(worker) as Box<dyn WorkerLink>)
            };
            connecting.boxed()
        };
        Ends { controller, connect: Box::new(connect) }
    })
    .await;
}

#[tokio::test]
async fn refuses_a_worker_of_another_version_with_both_versions() {
    let bench = Bench::new();
    let _controller = bench.listen();
    let mut stream = UnixStream::connect(bench.path()).await.unwrap();
    let hello = format!("teraslice-link 99 {}\n", bench.options.secret.expose());
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let wanted = "the controller speaks version 1 of the link protocol, the worker version 99";
    assert_eq!(answer, format!("teraslice-link 1 refused: {wanted}\n"));
}

#[tokio::test]
async fn refuses_a_controller_of_another_version_with_both_versions() {
    let bench = Bench::new();
    let listener = {
        std::fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
        tokio::net::UnixListener::bind(bench.path()).unwrap()
    };
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"teraslice-link 2 welcome\n").await.unwrap();
        stream
    };
    let (connected, _stream) = tokio::join!(bench.connect(), serve);
    let wanted = "the connection was refused: the controller speaks version 2 of the link protocol, the worker version 1";
    assert_eq!(connected.unwrap_err().to_string(), wanted);
}

#[tokio::test]
async fn refuses_a_worker_that_does_not_know_the_secret() {
    let mut bench = Bench::new();
    let mut controller = bench.listen();
    bench.options.secret = Secret::draw().unwrap();
    let error = bench.connect().await.unwrap_err();
    assert_eq!(error.to_string(), "the connection was refused: the worker does not know the secret");
    assert!(timeout(Duration::from_millis(50), controller.next()).await.is_err(), "nobody was let in");
}

#[tokio::test]
async fn refuses_what_does_not_greet() {
    let bench = Bench::new();
    let _controller = bench.listen();
    for (said, wanted) in [("GET / HTTP/1.1\n", "refused"), (&"x".repeat(5_000), "")] {
        let mut stream = UnixStream::connect(bench.path()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The connection ends, with or without an error.
        let _ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end in time");
        assert!(String::from_utf8_lossy(&answer).contains(wanted), "{said}");
    }
}

#[tokio::test]
async fn waits_for_a_controller_that_does_not_listen_yet() {
    let mut bench = Bench::new();
    bench.options.connect_max = PATIENCE;
    let late = async {
        tokio::task::yield_now().await;
        bench.listen()
    };
    let (worker, mut controller) = tokio::join!(bench.connect(), late);
    worker.unwrap();
    opened(&mut controller).await;
}

#[tokio::test]
async fn names_the_socket_that_nobody_listens_at() {
    let bench = Bench::new();
    let error = bench.connect().await.unwrap_err();
    assert!(error.to_string().contains(&bench.path().display().to_string()), "{error}");
}

#[tokio::test]
async fn takes_the_place_of_an_earlier_controller() {
    let bench = Bench::new();
    let earlier = bench.listen();
    let mut later = bench.listen();
    drop(earlier);
    let _worker = bench.connect().await.expect("the later one's socket is still there");
    opened(&mut later).await;
    drop(later);
    assert!(!bench.path().exists(), "and gone with it");
}

#[tokio::test]
async fn lets_only_this_user_near_the_socket() {
    let bench = Bench::new();
    let _controller = bench.listen();
    let directory = std::fs::metadata(bench.path().parent().unwrap()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn closes_a_session_that_sends_nonsense() {
    let bench = Bench::new();
    let mut controller = bench.listen();
    let mut stream = UnixStream::connect(bench.path()).await.unwrap();
    let hello = format!("teraslice-link 1 {}\n", bench.options.secret.expose());
    stream.write_all(hello.as_bytes()).await.unwrap();
    let session = opened(&mut controller).await;
    stream.write_all(b"\0\0\0\x03???").await.unwrap();
    // This process is alive, and known to be.
    assert_eq!(event(&mut controller).await, LinkEvent::Closed { session, is_dead: false });
}

fn result(letters: u32) -> SliceResult {
    let slice_id = SliceId::derive(ExId::from_random([1; 16]), 0, 1);
    let letter = |operation| DeadLetter {
        slice_id,
        operation,
        op: "filter".to_owned(),
        reason: "no".to_owned(),
        record: "x".repeat(100),
        encoding: Encoding::Text,
        metadata: None,
    };
    SliceResult {
        slice_id,
        attempt: 0,
        outcome: Outcome::Completed,
        retry_count: 0,
        operations: Vec::new(),
        dead_letters: (0..letters).map(letter).collect(),
    }
}

#[tokio::test]
async fn splits_results_that_are_too_long_for_one_frame_and_fails_those_that_are_by_themselves() {
    let mut bench = Bench::new();
    bench.options.frame_len_max = 2_000;
    let mut controller = bench.listen();
    let mut worker = bench.connect().await.unwrap();
    let _session = opened(&mut controller).await;
    let results = vec![result(5), result(5), result(100)];
    worker.send(FromWorker::Results(results)).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        if let LinkEvent::Message { message: FromWorker::Results(results), .. } = event(&mut controller).await
        {
            heard.extend(results);
        }
    }
    assert_eq!(heard[..2], [result(5), result(5)]);
    assert!(matches!(&heard[2].outcome, Outcome::Failed { error } if error.contains("100 records")));
}

#[tokio::test]
async fn goes_on_with_a_frame_whose_sending_was_given_up() {
    let bench = Bench::new();
    let mut controller = bench.listen();
    let mut worker = bench.connect().await.unwrap();
    let _session = opened(&mut controller).await;
    let large = FromWorker::Hello { worker: WorkerId::new("w".repeat(4 << 20)) };
    let given_up = worker.send(large.clone()).now_or_never();
    assert!(given_up.is_none(), "more than the system takes at once");
    let (sent, heard) = tokio::join!(worker.send(FromWorker::Heartbeat), async {
        let first = event(&mut controller).await;
        (first, event(&mut controller).await)
    });
    sent.unwrap();
    assert!(matches!(heard.0, LinkEvent::Message { message, .. } if message == large));
    assert!(matches!(heard.1, LinkEvent::Message { message: FromWorker::Heartbeat, .. }));
}
