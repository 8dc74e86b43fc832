//! Calls to the API server: each with a deadline, each failure split by what to do next.

use std::{fmt::Debug, future::Future, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{Event, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::Status,
};
use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::backend::BackendError;
use teraslice_model::problem::chain;
use tokio::time::timeout;

/// A call may take this long.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(10);
/// Who owns the fields that are applied.
const MANAGER: &str = "teraslice";
/// What another writer was quicker with is tried again after this.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// What is forbidden is not tried more often than this: only people can change it.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);
/// How much of an answer is told.
const MESSAGE_LEN_MAX: usize = 500;
/// What a quota refuses is tried again after this.
const QUOTA_PAUSE: Duration = Duration::from_secs(5);

/// Reaches the objects of a namespace. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) jobs: Api<Job>,
    pub(crate) pods: Api<Pod>,
    pub(crate) events: Api<Event>,
    pub(crate) leases: Api<Lease>,
}

/// What a list has found, and as of which version.
#[derive(Debug)]
pub(crate) struct Listed<K> {
    pub(crate) items: Vec<K>,
    pub(crate) version: String,
}

impl Objects {
    pub(crate) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            events: Api::namespaced(client.clone(), namespace),
            leases: Api::namespaced(client.clone(), namespace),
        }
    }
}

/// Lists all objects with these labels.
pub(crate) async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Listed<K>, BackendError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let list = call(api.list(params)).await?;
    Ok(Listed { items: list.items, version: list.metadata.resource_version.unwrap_or_default() })
}

/// Makes an object, or lets it be as it is if it is like this already.
pub(crate) async fn apply<K>(api: &Api<K>, object: &K) -> Result<K, BackendError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    call(api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))).await
}

/// Changes some fields of an object.
pub(crate) async fn merge<K>(api: &Api<K>, name: &str, fields: serde_json::Value) -> Result<K, BackendError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    call(api.patch(name, &patch_params(), &Patch::Merge(fields))).await
}

/// Deletes exactly this object; with `grace_s` its process has so long. One that is gone, or another of its name, is let be.
pub(crate) async fn delete<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    grace_s: Option<u32>,
) -> Result<(), BackendError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let mut params = DeleteParams::background().preconditions(preconditions);
    params.grace_period_seconds = grace_s;
    call(unless_gone(api.delete(name, &params))).await
}

/// Takes from exactly this object what keeps it after its deletion. One that is gone, or another of its name, is let be.
pub(crate) async fn free<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), BackendError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let fields = serde_json::json!({"metadata": {"uid": uid, "finalizers": null}});
    call(unless_gone(api.patch(name, &patch_params(), &Patch::Merge(fields)))).await
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Takes it for done if the object that is meant is not there any more.
async fn unless_gone<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<()> {
    match call.await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Waits for an answer, as long as it may take.
pub(crate) async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, BackendError> {
    match timeout(CALL_MAX, call).await {
        Ok(answer) => answer.map_err(failure),
        Err(_) => Err(silent()),
    }
}

/// Gives an object to another, so that it is deleted with it.
pub(crate) fn own(meta: &mut ObjectMeta, owner: &ObjectMeta) {
    let reference = OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(false),
        block_owner_deletion: Some(false),
    };
    meta.owner_references = Some(vec![reference]);
}

/// Returns the least time to wait before the same is tried again.
pub(crate) fn pause_after(error: &BackendError) -> Duration {
    match error {
        BackendError::Unavailable { retry_after, .. } => retry_after.unwrap_or_default(),
        // Nothing of this passes by itself.
        _ => FORBIDDEN_PAUSE,
    }
}

/// Says that a call was not answered in time.
pub(crate) fn silent() -> BackendError {
    let reason = format!("the Kubernetes API server did not answer within {}s", CALL_MAX.as_secs());
    BackendError::Unavailable { reason, retry_after: None }
}

/// Splits a failure by what the engine does next.
pub(crate) fn failure(error: kube::Error) -> BackendError {
    let kube::Error::Api(status) = error else {
        let reason = format!("the Kubernetes API server cannot be reached: {}", chain(&error));
        return BackendError::Unavailable { reason, retry_after: None };
    };
    let passing = |retry_after| BackendError::Unavailable {
        reason: format!("Kubernetes answers: {}", status.message),
        retry_after,
    };
    match status.code {
        409 => passing(Some(CONFLICT_PAUSE)),
        403 if status.message.contains("exceeded quota") => passing(Some(QUOTA_PAUSE)),
        // An admission webhook or policy does not want it.
        400 | 422 => BackendError::Refused { reason: short(&status.message) },
        403 if status.message.contains("denied") => BackendError::Refused { reason: short(&status.message) },
        // An object was deleted by somebody: as soon as that is seen, things go on.
        404 if is_of_object(&status) => passing(None),
        401 | 403 | 404 => passing(Some(FORBIDDEN_PAUSE)),
        _ => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            passing((seconds > 0).then(|| Duration::from_secs(seconds.into())))
        }
    }
}

/// Tells whether one object is meant, not its namespace or all of its kind.
fn is_of_object(status: &Status) -> bool {
    let kind = status.details.as_ref().map(|details| details.kind.as_str());
    kind.is_some_and(|kind| !kind.is_empty() && kind != "namespaces")
}

/// Shortens a message: some hold the whole object.
fn short(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_LEN_MAX) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16, message: &str) -> BackendError {
        failure(kube::Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() })))
    }

    #[test]
    fn refuses_the_job_for_what_no_repetition_helps() {
        for (code, message) in
            [(422, "spec: Invalid value"), (403, "admission webhook \"x\" denied the request")]
        {
            assert!(matches!(answered(code, message), BackendError::Refused { .. }), "{code}");
        }
    }

    #[test]
    fn tries_again_what_may_pass_and_seldom_what_is_forbidden() {
        let pause = |code, message| match answered(code, message) {
            BackendError::Unavailable { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(pause(500, "oops"), None);
        assert_eq!(pause(409, "exists"), Some(CONFLICT_PAUSE));
        assert_eq!(pause(403, "exceeded quota: pods"), Some(QUOTA_PAUSE));
        assert_eq!(pause(403, "jobs.batch is forbidden"), Some(FORBIDDEN_PAUSE));
        assert_eq!(pause(404, "namespaces \"x\" not found"), Some(FORBIDDEN_PAUSE));
    }
}
