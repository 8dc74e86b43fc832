//! Checks of clusters that lack something.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teraslice_model::job::Format;

use super::{access::needed, *};
use crate::fake::{Fault, Server};

const ROLE: &str = include_str!("../../../../examples/k8s/base/role.yaml");

struct Scene {
    server: Server,
    context: Context,
    settings: KubernetesSettings,
}

impl Scene {
    /// Makes a cluster that is ready.
    fn new() -> Self {
        let context = Context::simulated(1);
        let server = Server::new(&context);
        let settings = KubernetesSettings {
            namespace: "ns".to_owned(),
            image_pull_secrets: vec!["registry".to_owned()],
            service_account: Some("worker".to_owned()),
            assets_volume: Some("assets".to_owned()),
            priority_class: Some("high".to_owned()),
            master_url: "http://master.invalid:5678".to_owned(),
            ..KubernetesSettings::new("ts")
        };
        let config = "teraslice: {name: ts, master_hostname: master.invalid, port: 5678}";
        let claim = json!({"metadata": {"name": "assets"}, "spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}});
        let lease = json!({
            "metadata": {"name": "teraslice-ts"},
            "spec": {"holderIdentity": "master-1", "leaseTransitions": 3, "renewTime": "2023-11-14T22:13:20.000000Z"},
        });
        let named = |name: &str| json!({"metadata": {"name": name}});
        server.objects(|objects| {
            objects.put("namespaces", named("ns"));
            objects.put(
                "configmaps",
                json!({"metadata": {"name": "ts-worker"}, "data": {"teraslice.yaml": config}}),
            );
            objects.put("persistentvolumeclaims", claim);
            objects.put("serviceaccounts", named("worker"));
            objects.put("secrets", named("registry"));
            objects.put("priorityclasses", json!({"metadata": {"name": "high"}, "value": 7}));
            objects.put("leases", lease);
        });
        server.publish(json!({"keys": [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}]}));
        Self { server, context, settings }
    }

    async fn examine(&self) -> Vec<Finding> {
        examine(&self.settings, &self.server.client(""), &self.context).await.unwrap()
    }

    /// Examines the cluster and returns what was found about something.
    async fn about(&self, what: &str) -> (Verdict, String, String) {
        let findings = self.examine().await;
        let Some(found) = findings.iter().find(|found| found.what == what) else { panic!("{findings:#?}") };
        (found.verdict, found.detail.clone(), found.hint.clone().unwrap_or_default())
    }

    fn change(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.server.objects(|objects| objects.change(plural, name, change));
    }
}

#[tokio::test(start_paused = true)]
async fn finds_nothing_wrong_with_a_cluster_that_is_ready() {
    let findings = Scene::new().examine().await;
    let lines = findings.iter().map(|it| format!("{:?} | {} | {}", it.verdict, it.what, it.detail));
    // Its last line depends on the machine's resolver.
    let lines: Vec<_> = lines.filter(|line| !line.contains("master at")).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn fails_when_there_is_nobody_to_ask() {
    for fault in [Fault::Broken, Fault::Hang] {
        let scene = Scene::new();
        scene.server.fail("", "", "/version", fault);
        let examined = examine(&scene.settings, &scene.server.client(""), &scene.context).await;
        assert!(matches!(examined, Err(BackendError::Unavailable { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn ends_in_time_when_questions_are_not_answered() {
    let scene = Scene::new();
    for part in ["/api/v1", "/apis/", "/openid"] {
        scene.server.fail("", "", part, Fault::Hang);
    }
    let since = tokio::time::Instant::now();
    let findings = scene.examine().await;
    assert!(since.elapsed().as_secs() <= 10);
    assert!(findings[1..].iter().all(|found| found.verdict != Verdict::Ok), "{findings:#?}");
}

#[tokio::test(start_paused = true)]
async fn warns_of_a_server_that_is_too_old() {
    let scene = Scene::new();
    let version = json!({
        "major": "1", "minor": "32", "gitVersion": "v1.32.9", "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "", "compiler": "", "platform": "",
    });
    scene.server.fail("", "", "/version", Fault::Answer(200, version));
    let (verdict, detail, _) = scene.about("API server").await;
    assert_eq!((verdict, detail.as_str()), (Verdict::Warn, "v1.32.9 is not supported"));
}

#[tokio::test(start_paused = true)]
async fn says_which_rights_are_missing_and_what_to_add() {
    let scene = Scene::new();
    scene.server.deny("watch pods");
    scene.server.deny("delete pods");
    scene.server.deny("update leases");
    let (verdict, detail, hint) = scene.about("right to pods").await;
    assert_eq!((verdict, detail.as_str()), (Verdict::Fail, "not allowed: watch, delete"));
    assert!(hint.ends_with("- {apiGroups: [\"\"], resources: [pods], verbs: [watch, delete]}"), "{hint}");
    let (_, _, hint) = scene.about("right to leases.coordination.k8s.io/teraslice-ts").await;
    let rule = "{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [teraslice-ts], verbs: [update]}";
    assert!(hint.ends_with(rule), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn fails_for_each_object_that_is_not_there() {
    let cases = [
        ("namespaces", "ns", "namespace ns"),
        ("configmaps", "ts-worker", "config map ts-worker"),
        ("persistentvolumeclaims", "assets", "assets volume assets"),
        ("serviceaccounts", "worker", "service account worker"),
        ("secrets", "registry", "image pull secret registry"),
        ("priorityclasses", "high", "priority class high"),
    ];
    for (plural, name, what) in cases {
        let scene = Scene::new();
        scene.server.objects(|objects| objects.remove(plural, name));
        let (verdict, detail, hint) = scene.about(what).await;
        assert_eq!((verdict, detail.as_str()), (Verdict::Fail, "does not exist"), "{what}");
        assert!(!hint.is_empty(), "{what}");
        scene.server.fail("", "GET", &format!("/{plural}/"), Fault::answer(403, "forbidden"));
        let (verdict, detail, _) = scene.about(what).await;
        assert_eq!(verdict, Verdict::Warn, "{what}");
        assert!(detail.starts_with("not checked"), "{what}: {detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn looks_into_the_config_map() {
    let cases = [
        (json!({}), Verdict::Fail, "has no key teraslice.yaml"),
        (json!({"teraslice.yaml": "a: ["}), Verdict::Fail, "teraslice.yaml is not valid YAML"),
        (json!({"teraslice.yaml": "terafoundation: {}"}), Verdict::Ok, "names this cluster"),
        (json!({"teraslice.yaml": "teraslice: {name: other}"}), Verdict::Warn, "name is \"other\""),
        (json!({"teraslice.yaml": "teraslice: {port: 80}"}), Verdict::Warn, "port is \"80\""),
        (
            json!({"teraslice.yaml": "teraslice: {master_hostname: m}"}),
            Verdict::Warn,
            "master_hostname is \"m\"",
        ),
    ];
    for (data, verdict, detail) in cases {
        let scene = Scene::new();
        scene.change("configmaps", "ts-worker", |map| map["data"] = data.clone());
        let found = scene.about("config map ts-worker").await;
        assert_eq!(found.0, verdict, "{data}");
        assert!(found.1.starts_with(detail), "{data}: {}", found.1);
    }
}

#[tokio::test(start_paused = true)]
async fn looks_at_the_state_of_the_assets_claim() {
    for (pointer, value, verdict) in [
        ("/status/phase", json!("Pending"), Verdict::Warn),
        ("/status/phase", json!("Lost"), Verdict::Fail),
        ("/spec/accessModes", json!(["ReadWriteOnce"]), Verdict::Warn),
    ] {
        let scene = Scene::new();
        scene.change("persistentvolumeclaims", "assets", |claim| {
            *claim.pointer_mut(pointer).unwrap() = value.clone()
        });
        assert_eq!(scene.about("assets volume assets").await.0, verdict, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn tells_who_holds_the_lease_and_whether_it_is_renewed() {
    let scene = Scene::new();
    let what = "lease teraslice-ts";
    assert_eq!(scene.about(what).await.1, "held by master-1, term 3");
    tokio::time::advance(std::time::Duration::from_mins(5)).await;
    let (verdict, detail, _) = scene.about(what).await;
    assert_eq!(verdict, Verdict::Warn);
    assert!(detail.contains("not renewed for 30"), "{detail}");
    scene.change("leases", "teraslice-ts", |lease| lease["spec"]["holderIdentity"] = json!(""));
    assert_eq!(scene.about(what).await.1, "free after term 3");
    scene.server.objects(|objects| objects.remove("leases", "teraslice-ts"));
    assert_eq!(scene.about(what).await.1, "not taken yet: no master has run");
}

#[tokio::test(start_paused = true)]
async fn fails_when_tokens_cannot_be_checked() {
    let scene = Scene::new();
    scene.server.publish(json!({"keys": []}));
    assert_eq!(scene.about("token keys").await.0, Verdict::Fail);
    scene.server.fail("", "GET", "/openid", Fault::answer(403, "forbidden"));
    let (verdict, _, hint) = scene.about("token keys").await;
    assert_eq!(verdict, Verdict::Fail);
    assert!(hint.contains("system:service-account-issuer-discovery"), "{hint}");
}

#[tokio::test]
async fn takes_a_master_that_does_not_answer_for_a_failure_in_the_cluster_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    assert_eq!(address::connect(&url, true).await.verdict, Verdict::Ok);
    drop(listener);
    assert_eq!(address::connect(&url, true).await.verdict, Verdict::Fail);
    assert_eq!(address::connect(&url, false).await.verdict, Verdict::Warn);
}

/// One verb for a kind of objects: group, resource, name, verb.
type Grant = (String, String, Option<String>, String);

#[test]
fn checks_the_rights_that_the_example_gives() {
    let (role, _) = ROLE.split_once("\n---").unwrap();
    let role = Format::Yaml.parse(role).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::<Grant>::new();
    for rule in role["rules"].as_array().unwrap() {
        let [group, resource] = ["apiGroups", "resources"].map(|key| texts(&rule[key]).remove(0));
        let name = texts(&rule["resourceNames"]).pop();
        let grant = |verb| (group.clone(), resource.clone(), name.clone(), verb);
        granted.extend(texts(&rule["verbs"]).into_iter().map(grant));
    }
    let checked = needed("teraslice").into_iter().flat_map(|right| {
        let grant = move |verb: &&str| {
            (right.group.to_owned(), right.resource.to_owned(), right.name.clone(), (*verb).to_owned())
        };
        right.verbs.iter().map(grant).collect::<Vec<_>>()
    });
    assert_eq!(checked.collect::<BTreeSet<Grant>>(), granted);
}
