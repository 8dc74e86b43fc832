use std::{
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::future::join_all;

use super::*;
use crate::assets::testing::{Place, bundle, id};

/// A master that answers so many requests, each with the next of these, and takes down what it was asked.
struct Master {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicUsize>,
}

impl Master {
    fn answering(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (asked, count) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (heard, counted) = (Arc::clone(&asked), Arc::clone(&count));
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                heard.lock().unwrap().push(String::from_utf8(request).unwrap());
                counted.fetch_add(1, Ordering::SeqCst);
                let _left = stream.write_all(&answer);
            }
        });
        Self { address, asked, count }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn node(place: &Place, master: &Master) -> NodeAssets {
    let options = CacheOptions {
        pause: Duration::from_millis(1),
        tries_max: 3,
        size_max: 1 << 20,
        ..CacheOptions::new(place.assets(), master.address.as_str())
    };
    NodeAssets::open(options, place.parts.clone(), place.context.clone()).unwrap()
}

#[tokio::test]
async fn fetches_an_asset_once_for_all_who_ask() {
    let (place, zip) = (Place::new(), bundle("mine", "1.0.0", "evil"));
    let master = Master::answering(vec![answer("200 OK", "", &zip)]);
    let node = node(&place, &master);
    let ids = [id(&zip)];
    let all = join_all((0..10).map(|_| node.ensure(&ids, Some("secret")))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    node.ensure(&ids, Some("secret")).await.unwrap();
    assert_eq!((master.count(), place.files()), (1, vec![format!("{}.zip", ids[0])]));
    let asked = master.asked.lock().unwrap()[0].to_lowercase();
    assert!(asked.starts_with(&format!("get /v1/assets/{}/bundle http/1.1\r\n", ids[0])), "{asked}");
    assert!(asked.contains("authorization: bearer secret\r\n"), "{asked}");
    // What is fetched can be loaded by its id.
    assert_eq!(place.parts.bundle(&ids[0]).unwrap().name, "mine");
}

#[tokio::test]
async fn finds_what_lies_there_already_if_it_is_whole() {
    let (place, zip) = (Place::new(), bundle("mine", "1.0.0", "evil"));
    let master = Master::answering(vec![answer("200 OK", "", &zip)]);
    let node = node(&place, &master);
    let path = place.assets().join(format!("{}.zip", id(&zip)));
    fs::write(&path, &zip).unwrap();
    node.ensure(&[id(&zip)], Some("secret")).await.unwrap();
    assert_eq!(master.count(), 0);
    fs::write(&path, &zip[..200]).unwrap();
    node.ensure(&[id(&zip)], Some("secret")).await.unwrap();
    assert_eq!((master.count(), fs::read(&path).unwrap()), (1, zip));
}

#[tokio::test]
async fn tries_again_after_what_may_pass() {
    let (place, zip) = (Place::new(), bundle("mine", "1.0.0", "evil"));
    let cut = answer("200 OK", "", &zip);
    let master = Master::answering(vec![
        cut[..cut.len() - 10].to_vec(),
        answer("503 Service Unavailable", "", b""),
        answer("200 OK", "", &zip),
    ]);
    node(&place, &master).ensure(&[id(&zip)], Some("secret")).await.unwrap();
    assert_eq!(master.count(), 3);
}

#[tokio::test]
async fn keeps_nothing_that_is_not_what_it_should_be() {
    let (place, zip) = (Place::new(), bundle("mine", "1.0.0", "evil"));
    let wanted = id(&zip);
    let cases = [
        (answer("200 OK", "", b"something else"), 3, "what the master sent as asset ID is another: "),
        (
            answer("200 OK", &format!("etag: \"{}\"\r\n", "0".repeat(64)), &zip),
            3,
            "what the master sent as asset ID is another: ",
        ),
        (answer("200 OK", "", &vec![0; (1 << 20) + 1]), 1, "asset ID is larger than 1048576 bytes"),
        (answer("404 Not Found", "", b""), 1, "the master has no asset ID"),
        (answer("401 Unauthorized", "", b""), 1, "the master refuses to hand out asset ID: it answers 401"),
        (
            answer("500 Internal Server Error", "", b""),
            3,
            "the master cannot hand out asset ID: it answers 500",
        ),
        (b"no http".to_vec(), 3, "failed to fetch asset ID"),
    ];
    for (answer, tries, message) in cases {
        let master = Master::answering(vec![answer; tries]);
        let error =
            node(&place, &master).ensure(std::slice::from_ref(&wanted), Some("secret")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&message.replace("ID", &wanted)), "{text}\nexpected {message}");
        assert_eq!((master.count(), place.files()), (tries, Vec::new()), "{message}");
    }
    let master = Master::answering(Vec::new());
    let error = node(&place, &master).ensure(&["../mine".to_owned()], Some("secret")).await.unwrap_err();
    assert_eq!(error.to_string(), "the master has no asset ../mine");
}

#[tokio::test]
async fn says_what_does_not_run_here() {
    let place = Place::new();
    let zip = crate::assets::testing::zip(&[("asset.json", b"{}")]);
    let master = Master::answering(vec![answer("200 OK", "", &zip)]);
    let error = node(&place, &master).ensure(&[id(&zip)], Some("secret")).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("asset {} cannot run on this node: ", id(&zip))),
        "{error}"
    );
}
