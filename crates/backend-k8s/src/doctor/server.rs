//! The API server itself: its version, and the keys by which it signs tokens.

use jsonwebtoken::jwk::JwkSet;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;
use teraslice_core::backend::BackendError;
use tokio::time::timeout;

use super::{Answer, Finding, ask};
use crate::{api, tokens};

/// The oldest version whose objects have everything that is used, as in 1.33.
const MINOR_MIN: u32 = 33;

/// Checks the version of the API server.
///
/// # Errors
///
/// When it cannot be reached.
pub(super) async fn version(client: &Client) -> Result<Finding, BackendError> {
    let what = "API server";
    match timeout(api::CALL_MAX, client.apiserver_version()).await {
        Ok(Ok(version)) => Ok(judged(what, &version)),
        Ok(Err(kube::Error::Api(status))) => {
            let detail = format!("does not tell its version: {}", status.message);
            Ok(Finding::fail(what, detail).with_hint("are the credentials valid?"))
        }
        Ok(Err(error)) => Err(api::failure(error)),
        Err(_) => Err(api::silent()),
    }
}

fn judged(what: &str, version: &Info) -> Finding {
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    let is_known = version.major == "1" && digits.parse().is_ok_and(|minor: u32| minor >= MINOR_MIN);
    match is_known {
        true => Finding::ok(what, &version.git_version),
        false => Finding::warn(what, format!("{} is not supported", version.git_version))
            .with_hint(format!("use Kubernetes 1.{MINOR_MIN} or later")),
    }
}

/// Checks whether the keys can be read by which pods are known by their tokens.
pub(super) async fn keys(client: &Client) -> Finding {
    let what = "token keys";
    let hint = "bind the ClusterRole system:service-account-issuer-discovery to the master's service account";
    match ask(tokens::published(client)).await {
        Answer::Found(JwkSet { keys }) if !keys.is_empty() => {
            let count = keys.len();
            Finding::ok(what, if count == 1 { "1 key".to_owned() } else { format!("{count} keys") })
        }
        Answer::Found(_) => Finding::fail(what, "the API server publishes none"),
        Answer::Missing => Finding::fail(what, "the API server does not publish them"),
        Answer::Forbidden => {
            Finding::fail(what, "these credentials may not read them: no pod will be let in").with_hint(hint)
        }
        Answer::Failed(reason) => Finding::fail(what, reason),
    }
}
