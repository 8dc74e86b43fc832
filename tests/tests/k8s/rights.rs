//! What the accounts of an installation may do: as little as they need, or everything, as in earlier installations. And who can
//! listen.

use std::process::Command;

use teraslice_tests::k8s::Installation;

use crate::{complete, input, numbered};

/// Says whether an account of the namespace may do something there.
fn may(teraslice: &Installation, account: &str, verb: &str, what: &str) -> bool {
    let account = format!("system:serviceaccount:{}:{account}", teraslice.namespace);
    let asked = Command::new("kubectl")
        .args(["--namespace", &teraslice.namespace, "auth", "can-i", verb, what, "--as", &account])
        .output()
        .expect("there is kubectl");
    asked.status.success()
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn gives_the_master_no_more_rights_than_it_needs() {
    let teraslice = Installation::start("rights", &[]);
    for (verb, what) in
        [("create", "jobs"), ("patch", "jobs"), ("delete", "pods"), ("watch", "pods"), ("list", "events")]
    {
        assert!(may(&teraslice, "teraslice-master", verb, what), "{verb} {what}");
    }
    for (verb, what) in [
        ("get", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "roles"),
        ("get", "nodes"),
    ] {
        assert!(!may(&teraslice, "teraslice-master", verb, what), "{verb} {what}");
    }
    for (verb, what) in [("get", "pods"), ("list", "jobs"), ("create", "jobs"), ("get", "configmaps")] {
        assert!(!may(&teraslice, "teraslice-worker", verb, what), "{verb} {what}");
    }
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn works_with_the_wide_rights_of_earlier_installations() {
    let teraslice = Installation::start_wide("wide");
    let masters = teraslice.masters();
    assert_eq!(masters.len(), 1);
    assert_eq!(masters[0]["spec"]["serviceAccountName"], "default");
    for (verb, what) in [("create", "jobs"), ("delete", "pods"), ("get", "secrets"), ("create", "pods/exec")]
    {
        assert!(may(&teraslice, "default", verb, what), "{verb} {what}");
        assert!(!may(&teraslice, "teraslice-worker", verb, what), "{verb} {what} as a worker");
    }
    let records = 20_000;
    let folder = input(&teraslice, records);
    let (job_id, ex_id) = teraslice.submit(&numbered(records, 1, 500));
    teraslice.await_pods(&ex_id, "worker", 1);
    teraslice.post(&format!("/v1/jobs/{job_id}/_workers?add=1"), None);
    for pod in teraslice.await_pods(&ex_id, "worker", 2) {
        assert_eq!(pod["spec"]["serviceAccountName"], "teraslice-worker", "who has no rights");
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    }
    complete(&teraslice, &ex_id, &folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn encrypts_every_link() {
    let teraslice = Installation::start_encrypted("tls");
    let records = 20_000;
    let folder = input(&teraslice, records);
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 500));
    for pod in teraslice.await_pods(&ex_id, "worker", 2) {
        let told = pod["spec"]["containers"][0]["env"].as_array().expect("a pod has an environment");
        let value =
            |name: &str| told.iter().find(|it| it["name"] == name).and_then(|it| it["value"].as_str());
        assert_eq!(value("TERASLICE_MASTER"), Some("https://teraslice-master:5678"));
        assert!(
            value("TERASLICE_AUTHORITY").is_some_and(|pem| pem.contains("BEGIN CERTIFICATE")),
            "{told:?}"
        );
    }
    complete(&teraslice, &ex_id, &folder, records);
}
