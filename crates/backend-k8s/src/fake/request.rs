//! A request as the fake API server reads it.

use std::{collections::BTreeMap, time::Duration};

use kube::client::Body;
use serde_json::Value;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) client: &'static str,
    pub(crate) method: String,
    /// The path and the query.
    pub(crate) uri: String,
    /// The kind of the objects, as in paths.
    pub(crate) plural: String,
    /// The object; none if all are meant.
    pub(crate) name: Option<String>,
    /// How a patch is written.
    pub(crate) content_type: String,
    pub(crate) body: Value,
    query: BTreeMap<String, String>,
}

impl Request {
    /// Reads a request of a client.
    pub(super) async fn read(client: &'static str, request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let path = parts.uri.path().trim_matches('/');
        let skipped = if path.starts_with("api/") { 2 } else { 3 };
        let mut rest: Vec<_> = path.split('/').skip(skipped).collect();
        if rest.first() == Some(&"namespaces") && rest.len() > 2 {
            rest.drain(..2);
        }
        let pairs = parts.uri.query().unwrap_or_default().split('&');
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        let content_type = parts.headers.get(http::header::CONTENT_TYPE);
        Self {
            client,
            method: parts.method.to_string(),
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            plural: rest.first().copied().unwrap_or_default().to_owned(),
            name: rest.get(1).copied().map(str::to_owned),
            content_type: content_type.map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            query: pairs.map(|(key, value)| (key.to_owned(), decoded(value))).collect(),
        }
    }

    /// Tells whether it has this method; the empty one is any.
    pub(super) fn is(&self, method: &str) -> bool {
        method.is_empty() || self.method == method
    }

    pub(super) fn is_watch(&self) -> bool {
        self.query("watch") == "true"
    }

    pub(super) fn query(&self, key: &str) -> &str {
        self.query.get(key).map(String::as_str).unwrap_or_default()
    }

    /// Returns for how long is to be watched.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.query("timeoutSeconds").parse().unwrap_or(290))
    }
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().replace('+', " ").into_bytes();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.replace('+', " ").bytes());
    }
    String::from_utf8(bytes).unwrap()
}
