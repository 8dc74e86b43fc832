//! Checks whether a cluster is ready for a master, and says what to do where it is not.

mod access;
mod address;
mod config_map;
mod objects;
mod server;

use std::future::Future;

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use kube::Client;
use serde::Serialize;
use teraslice_core::{backend::BackendError, context::Context};
use tokio::time::timeout;

use crate::{KubernetesSettings, api};

/// What helps where these credentials are not let look.
const LOOK_AS_ANOTHER: &str = "run this with the credentials of somebody who may read it";

/// How a check has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as it should be.
    Ok,
    /// Something may not work, or could not be looked at.
    Warn,
    /// Something will not work.
    Fail,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it has ended.
    pub verdict: Verdict,
    /// What was checked.
    pub what: String,
    /// What is there.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict, what: what.into(), detail: detail.into(), hint: None }
    }

    fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, what, detail)
    }

    fn warn(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, what, detail)
    }

    fn fail(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, what, detail)
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Checks everything that a master with these settings needs, with the client's credentials. Nothing is changed.
///
/// # Errors
///
/// [`BackendError::Unavailable`] when there is no API server to ask; whatever else is wrong is a finding.
pub async fn examine(
    settings: &KubernetesSettings,
    client: &Client,
    context: &Context,
) -> Result<Vec<Finding>, BackendError> {
    let mut findings = vec![server::version(client).await?];
    let checks: [BoxFuture<'_, Vec<Finding>>; 8] = [
        one(access::credentials(client)),
        one(objects::namespace(client, &settings.namespace)),
        access::rights(client, settings).boxed(),
        config_map::check(client, settings).boxed(),
        objects::all(client, settings).boxed(),
        one(objects::lease(client, settings, context)),
        one(server::keys(client)),
        one(address::check(&settings.master_url)),
    ];
    findings.extend(join_all(checks).await.into_iter().flatten());
    Ok(findings)
}

fn one<'a>(check: impl Future<Output = Finding> + Send + 'a) -> BoxFuture<'a, Vec<Finding>> {
    check.map(|finding| vec![finding]).boxed()
}

/// What the API server has to say about a question.
enum Answer<T> {
    Found(T),
    Missing,
    /// The credentials do not allow to ask.
    Forbidden,
    Failed(String),
}

/// Asks the API server, for as long as a call may take.
async fn ask<T>(call: impl Future<Output = kube::Result<T>>) -> Answer<T> {
    match timeout(api::CALL_MAX, call).await {
        Ok(Ok(found)) => Answer::Found(found),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Answer::Missing,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => Answer::Forbidden,
        Ok(Err(error)) => Answer::Failed(api::failure(error).to_string()),
        Err(_) => Answer::Failed(format!("no answer within {}s", api::CALL_MAX.as_secs())),
    }
}

impl<T> Answer<T> {
    /// Returns what was found, or why there is nothing to look at.
    fn found(self, what: &str, if_missing: &str) -> Result<T, Finding> {
        match self {
            Self::Found(found) => Ok(found),
            Self::Missing => Err(Finding::fail(what, "does not exist").with_hint(if_missing)),
            Self::Forbidden => Err(Finding::warn(what, "not checked: these credentials may not read it")
                .with_hint(LOOK_AS_ANOTHER)),
            Self::Failed(reason) => Err(Finding::fail(what, reason)),
        }
    }
}

#[cfg(test)]
mod tests;
