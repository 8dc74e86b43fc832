//! Whose credentials these are, and whether they have the rights of a master.

use futures::future::join_all;
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

use super::{Answer, Finding, ask};
use crate::{KubernetesSettings, names};

/// What a master may do with objects of a kind, all in its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    /// The object; none if all are meant.
    pub(super) name: Option<String>,
    pub(super) verbs: &'static [&'static str],
}

/// Returns the rights of the Role in `examples/k8s/base/role.yaml`.
pub(super) fn needed(cluster: &str) -> Vec<Right> {
    let right = |group, resource, verbs| Right { group, resource, name: None, verbs };
    let lease = Some(names::lease(cluster));
    vec![
        right("batch", "jobs", &["get", "list", "watch", "create", "patch", "delete"]),
        right("", "pods", &["get", "list", "watch", "patch", "delete"]),
        right("", "events", &["list", "watch"]),
        right("coordination.k8s.io", "leases", &["create"]),
        Right { name: lease, ..right("coordination.k8s.io", "leases", &["get", "update"]) },
        right("", "persistentvolumeclaims", &["get", "list"]),
    ]
}

impl Right {
    fn what(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let name = self.name.as_ref().map_or(String::new(), |name| format!("/{name}"));
        format!("right to {}{group}{name}", self.resource)
    }

    /// Returns the line of a Role that gives these verbs.
    fn rule(&self, verbs: &[&str]) -> String {
        let name = self.name.as_ref().map_or(String::new(), |name| format!("resourceNames: [{name}], "));
        let group = if self.group.is_empty() { "\"\"" } else { self.group };
        let (resource, verbs) = (self.resource, verbs.join(", "));
        format!("- {{apiGroups: [{group}], resources: [{resource}], {name}verbs: [{verbs}]}}")
    }

    fn review(&self, verb: &str, namespace: &str) -> SelfSubjectAccessReview {
        let attributes = ResourceAttributes {
            group: Some(self.group.to_owned()),
            resource: Some(self.resource.to_owned()),
            name: self.name.clone(),
            verb: Some(verb.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
    }
}

/// Tells whose credentials are used.
pub(super) async fn credentials(client: &Client) -> Finding {
    let what = "credentials";
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    match ask(api.create(&PostParams::default(), &SelfSubjectReview::default())).await {
        Answer::Found(review) => {
            let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
            Finding::ok(what, user.unwrap_or_else(|| "nobody's".to_owned()))
        }
        Answer::Missing => Finding::warn(what, "the API server does not tell whose they are"),
        Answer::Forbidden => Finding::fail(what, "the API server does not accept them"),
        Answer::Failed(reason) => Finding::fail(what, reason),
    }
}

/// Checks the rights, a finding for each kind of objects.
pub(super) async fn rights(client: &Client, settings: &KubernetesSettings) -> Vec<Finding> {
    let all = needed(&settings.cluster);
    join_all(all.iter().map(|right| check(client, &settings.namespace, right))).await
}

async fn check(client: &Client, namespace: &str, right: &Right) -> Finding {
    let api: &Api<SelfSubjectAccessReview> = &Api::all(client.clone());
    let is_allowed = |verb: &'static str| async move {
        let review = right.review(verb, namespace);
        match ask(api.create(&PostParams::default(), &review)).await {
            Answer::Found(review) => Ok(review.status.is_some_and(|status| status.allowed)),
            Answer::Missing => Err("the API server does not tell who may do what".to_owned()),
            Answer::Forbidden => Err("these credentials may not even ask for their rights".to_owned()),
            Answer::Failed(reason) => Err(reason),
        }
    };
    let mut missing = Vec::new();
    for (verb, allowed) in right.verbs.iter().zip(join_all(right.verbs.iter().copied().map(is_allowed)).await)
    {
        match allowed {
            Ok(true) => {}
            Ok(false) => missing.push(*verb),
            Err(reason) => return Finding::fail(right.what(), reason),
        }
    }
    if missing.is_empty() {
        return Finding::ok(right.what(), right.verbs.join(", "));
    }
    let hint = format!("add to the rules of the master's Role: {}", right.rule(&missing));
    Finding::fail(right.what(), format!("not allowed: {}", missing.join(", "))).with_hint(hint)
}
