use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::any};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::{Bulk, BulkItem, Product};

/// Serves answers in turn, the last one for ever; returns the client and the number of requests served.
#[expect(clippy::disallowed_methods, reason = "the server of a test is a task of its own")]
async fn server(answers: Vec<(u16, String)>) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let answer = move || {
        let at = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let (status, body) = answers[at].clone();
        async move { (StatusCode::from_u16(status).expect("a status"), body).into_response() }
    };
    let app = Router::new().fallback(any(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let node = Url::parse(&format!("http://{address}")).expect("a URL");
    let settings = Settings { nodes: vec![node], ..Settings::default() };
    (Client::new("default", settings).expect("right"), served)
}

fn quick(request: Request) -> Request {
    request.patience(Duration::from_millis(400))
}

#[tokio::test]
async fn says_what_it_is() {
    for (version, product, supported) in [
        (json!({"number": "3.8.0", "distribution": "opensearch"}), Product::OpenSearch, true),
        (json!({"number": "8.19.21"}), Product::Elasticsearch, true),
        (json!({"number": "6.8.0"}), Product::Elasticsearch, false),
    ] {
        let (client, _) = server(vec![(200, json!({"version": version}).to_string())]).await;
        match client.server().await {
            Ok(server) => assert_eq!((server.product, supported), (product, true)),
            Err(error) => {
                assert!(!supported, "{error}");
                assert!(error.to_string().contains("6.8.0; Elasticsearch 7 to 9"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn knows_a_build_without_a_main_page() {
    let (client, _) =
        server(vec![(405, "{\"error\":\"no\"}".to_owned()), (200, "8.19.21\n".to_owned())]).await;
    let server = client.server().await.expect("known");
    assert_eq!(server.to_string(), "Elasticsearch 8.19");
}

#[tokio::test]
async fn tries_again_while_the_server_is_busy() {
    let busy =
        json!({"error": {"type": "es_rejected_execution_exception", "reason": "queue full"}}).to_string();
    let (client, served) = server(vec![(429, busy.clone()), (503, busy), (200, "{}".to_owned())]).await;
    client.send(&Request::get("/x")).await.expect("the third answer is good");
    assert_eq!(served.load(Ordering::SeqCst), 3);
    assert_eq!(client.requests(), 3);
}

#[tokio::test]
async fn gives_up_when_its_patience_ends() {
    let (client, _) = server(vec![(429, "{\"error\":\"full\"}".to_owned())]).await;
    let error = client.send(&quick(Request::get("/x"))).await.expect_err("always full");
    assert!(error.is_passing());
    assert_eq!(error.to_string(), "connection \"default\": GET /x was answered with 429: unknown: full");
}

#[tokio::test]
async fn does_not_repeat_what_is_refused() {
    let refusal = json!({"error": {"type": "index_not_found_exception", "reason": "no such index [x]"}});
    let (client, served) = server(vec![(404, refusal.to_string())]).await;
    let error = client.send(&Request::get("/x/_search?q=1")).await.expect_err("refused");
    assert_eq!((error.status(), served.load(Ordering::SeqCst)), (Some(404), 1));
    assert_eq!(
        error.to_string(),
        "connection \"default\": GET /x/_search was refused with 404: index_not_found_exception: no such index [x]"
    );
    assert!(client.find(&Request::get("/x")).await.expect("404 is none").is_none());
}

#[tokio::test]
async fn refuses_an_answer_that_is_too_large() {
    let (client, served) = server(vec![(200, format!("\"{}\"", "x".repeat(998)))]).await;
    let bounded = |bytes| Request::get("/x").answer_bytes_max(bytes);
    assert_eq!(client.send(&bounded(1_000)).await.expect("it fits").body().len(), 1_000);
    let error = client.send(&bounded(999)).await.expect_err("it does not");
    assert_eq!((error.status(), served.load(Ordering::SeqCst)), (Some(413), 2));
    assert_eq!(
        error.to_string(),
        "connection \"default\": GET /x was refused with 413: answer_too_large: the answer has more than 999 bytes"
    );
}

#[tokio::test]
async fn goes_to_the_next_node_when_one_is_away() {
    let (there, served) = server(vec![(200, "{}".to_owned())]).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let nodes =
        vec![Url::parse(&format!("http://{gone}")).expect("a URL"), there.settings().nodes[0].clone()];
    let client = Client::new("default", Settings { nodes, ..Settings::default() }).expect("right");
    for _ in 0..10 {
        client.send(&Request::get("/x")).await.expect("one node is there");
    }
    assert_eq!(served.load(Ordering::SeqCst), 10);
    assert!(client.requests() <= 11, "the other is passed over once it is known");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the server of a test is a task of its own")]
async fn waits_for_a_server_that_comes_back() {
    let place =
        TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let node = Url::parse(&format!("http://{place}")).expect("a URL");
    let client =
        Client::new("default", Settings { nodes: vec![node], ..Settings::default() }).expect("right");
    let error = client.send(&quick(Request::get("/x"))).await.expect_err("nobody is there");
    assert!(error.to_string().contains("does not answer"), "{error}");
    let back = async {
        sleep(Duration::from_millis(500)).await;
        let listener = TcpListener::bind(place).await.expect("the port is free still");
        tokio::spawn(
            async move { axum::serve(listener, Router::new().fallback(any(|| async { "{}" }))).await },
        );
    };
    let request = Request::get("/x");
    let sends = async {
        tokio::join!(
            client.send(&request),
            client.send(&request),
            client.send(&request),
            client.send(&request)
        )
    };
    let (sent, ()) = tokio::join!(sends, back);
    assert!(sent.0.is_ok() && sent.1.is_ok() && sent.2.is_ok() && sent.3.is_ok());
    assert!(!client.is_out());
}

#[tokio::test]
async fn tells_which_items_failed() {
    let answer = json!({"took": 3, "errors": true, "items": [
        {"index": {"status": 201}},
        {"create": {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "there"}}},
        {"index": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "full"}}},
    ]});
    let (client, _) = server(vec![(200, answer.to_string())]).await;
    let mut bulk = Bulk::default();
    bulk.push("index", &BulkItem { index: "i", id: Some("a\"b"), ..BulkItem::default() }, Some(b"{}"));
    bulk.push("delete", &BulkItem { index: "i", id: Some("c"), ..BulkItem::default() }, None);
    assert_eq!(bulk.len(), 2);
    let body = bulk.into_body();
    assert_eq!(&body[..], b"{\"index\":{\"_index\":\"i\",\"_id\":\"a\\\"b\"}}\n{}\n{\"delete\":{\"_index\":\"i\",\"_id\":\"c\"}}\n");
    let outcome = client.bulk(body, "", Duration::from_secs(1)).await.expect("answered");
    let told: Vec<_> = outcome.failed.iter().map(|item| (item.at, item.status, item.is_passing())).collect();
    assert_eq!(told, [(1, 409, false), (2, 429, true)]);
}

#[test]
fn reads_addresses_that_nodes_publish() {
    let body = json!({"nodes": {
        "a": {"http": {"publish_address": "10.0.0.1:9200"}},
        "b": {"http": {"publish_address": "es.example/10.0.0.2:9201"}},
        "c": {},
    }});
    let urls: Vec<_> = published(body.to_string().as_bytes(), "https").iter().map(Url::to_string).collect();
    assert_eq!(urls, ["https://10.0.0.1:9200/", "https://es.example:9201/"]);
}

#[test]
fn refuses_what_is_no_certificate() {
    let settings = Settings { ca_certificate: Some("x".to_owned()), ..Settings::default() };
    let problem = Client::new("default", settings).expect_err("no certificate");
    assert_eq!(problem.pointer, "/caCertificate");
}
