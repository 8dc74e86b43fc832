//! The objects that a master and its pods need to find.

use futures::future::join_all;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, PersistentVolumeClaim, Secret, ServiceAccount},
    scheduling::v1::PriorityClass,
};
use kube::{Api, Client};
use teraslice_core::context::Context;

use super::{Answer, Finding, ask};
use crate::{KubernetesSettings, lease, names};

/// How many machines have to be able to mount the assets.
const SHARED: &str = "ReadWriteMany";

/// Checks the namespace.
pub(super) async fn namespace(client: &Client, name: &str) -> Finding {
    let what = format!("namespace {name}");
    let api: Api<Namespace> = Api::all(client.clone());
    let make = format!("kubectl create namespace {name}; or see `kubernetes_namespace`");
    let namespace = match ask(api.get(name)).await.found(&what, &make) {
        Ok(namespace) => namespace,
        Err(finding) => return finding,
    };
    match namespace.status.and_then(|status| status.phase).as_deref() {
        Some("Terminating") => Finding::fail(what, "is being deleted"),
        _ => Finding::ok(what, "exists"),
    }
}

/// Checks everything else that pods are made with.
pub(super) async fn all(client: &Client, settings: &KubernetesSettings) -> Vec<Finding> {
    let secrets = settings.image_pull_secrets.iter().map(|name| secret(client, settings, name));
    let (assets, account, secrets, class) = tokio::join!(
        assets(client, settings),
        service_account(client, settings),
        join_all(secrets),
        priority_class(client, settings),
    );
    [assets, account].into_iter().chain(secrets).chain(class).collect()
}

async fn assets(client: &Client, settings: &KubernetesSettings) -> Finding {
    let Some(name) = &settings.assets_volume else {
        return Finding::ok("assets volume", "none is configured: pods fetch assets from the master");
    };
    let what = format!("assets volume {name}");
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &settings.namespace);
    match ask(api.get(name)).await.found(&what, "make that claim; or see `assets_volume`") {
        Ok(claim) => judged(what, &claim),
        Err(finding) => finding,
    }
}

fn judged(what: String, claim: &PersistentVolumeClaim) -> Finding {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()).unwrap_or_default();
    if phase == "Lost" {
        return Finding::fail(what, "has lost its volume").with_hint("make the claim anew");
    }
    if !modes.iter().any(|mode| mode == SHARED) {
        let hint =
            format!("pods on other machines than the master's cannot mount it: use a class with {SHARED}");
        return Finding::warn(what, format!("is {}", modes.join(", "))).with_hint(hint);
    }
    if phase != "Bound" {
        let hint = "right if its storage class waits for the first pod; else `kubectl describe pvc` says why";
        return Finding::warn(what, format!("is not bound but {phase}")).with_hint(hint);
    }
    Finding::ok(what, format!("bound, {SHARED}"))
}

async fn service_account(client: &Client, settings: &KubernetesSettings) -> Finding {
    let name = settings.service_account.as_deref().unwrap_or("default");
    let what = format!("service account {name}");
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &settings.namespace);
    let make = format!(
        "kubectl -n {} create serviceaccount {name}; or see `kubernetes_service_account`",
        settings.namespace
    );
    exists(what, ask(api.get(name)).await, &make)
}

async fn secret(client: &Client, settings: &KubernetesSettings, name: &str) -> Finding {
    let what = format!("image pull secret {name}");
    let api: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    let make = format!(
        "kubectl -n {} create secret docker-registry {name} ...; or see `kubernetes_image_pull_secret`",
        settings.namespace
    );
    // Its content is nobody's business here.
    exists(what, ask(api.get_metadata(name)).await, &make)
}

async fn priority_class(client: &Client, settings: &KubernetesSettings) -> Option<Finding> {
    let name = settings.priority_class.as_deref()?;
    let what = format!("priority class {name}");
    let api: Api<PriorityClass> = Api::all(client.clone());
    Some(exists(what, ask(api.get(name)).await, "make it; or see `kubernetes_priority_class_name`"))
}

fn exists<T>(what: String, answer: Answer<T>, if_missing: &str) -> Finding {
    match answer.found(&what, if_missing) {
        Ok(_) => Finding::ok(what, "exists"),
        Err(finding) => finding,
    }
}

/// Tells who leads the cluster.
pub(super) async fn lease(client: &Client, settings: &KubernetesSettings, context: &Context) -> Finding {
    let name = names::lease(&settings.cluster);
    let what = format!("lease {name}");
    let api: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let lease = match ask(api.get(&name)).await {
        Answer::Missing => return Finding::ok(what, "not taken yet: no master has run"),
        // The right to it is a check of its own.
        answer => match answer.found(&what, "") {
            Ok(lease) => lease,
            Err(finding) => return finding,
        },
    };
    let term = lease::transitions(&lease);
    let Some(holder) = lease::holder_of(&lease) else {
        return Finding::ok(what, format!("free after term {term}"));
    };
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let age_ms = renewed.map_or(0, |renewed| context.wall().as_millis() - renewed.0.as_millisecond());
    let held = format!("held by {holder}, term {term}");
    // The clocks of two machines may differ by some seconds.
    match age_ms / 1_000 {
        age_s if age_s > 4 * i64::try_from(lease::DURATION.as_secs()).unwrap_or(i64::MAX) => {
            Finding::warn(what, format!("{held}, but not renewed for {age_s} s"))
                .with_hint("the master is gone or cannot reach the API server; the next one takes over")
        }
        _ => Finding::ok(what, held),
    }
}
