//! Whether the master answers where pods look for it.

use std::{env, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::Finding;

/// A connection has to stand after this.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A variable that only pods have.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// Connects with the master from here.
pub(super) async fn check(master_url: &str) -> Finding {
    connect(master_url, env::var_os(IN_CLUSTER).is_some()).await
}

/// Connects with the master; outside of the cluster its name need not be known.
pub(super) async fn connect(master_url: &str, is_in_cluster: bool) -> Finding {
    let (host, port) = parts(master_url);
    let what = format!("master at {host}:{port}");
    let reason = match timeout(CONNECT_MAX, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => return Finding::ok(what, "answers from here"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {}s", CONNECT_MAX.as_secs()),
    };
    match is_in_cluster {
        true => Finding::fail(what, format!("not reached from this pod: {reason}")).with_hint(
            "does the master run, is there a Service of that name, does a NetworkPolicy forbid it?",
        ),
        false => Finding::warn(what, format!("not reached from here: {reason}"))
            .with_hint("what counts is whether pods reach it: run this in a pod of the cluster"),
    }
}

/// Returns the host and the port of a URL.
pub(super) fn parts(url: &str) -> (String, u16) {
    let uri: http::Uri = url.parse().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    (uri.host().unwrap_or_default().to_owned(), port)
}
