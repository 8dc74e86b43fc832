//! The config map that configures controllers and workers.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::Value;
use teraslice_model::job::Format;

use super::{Finding, address, ask};
use crate::{KubernetesSettings, render::volumes::CONFIG_FILE};

/// Checks that it is there, can be read, and names the same cluster and master.
pub(super) async fn check(client: &Client, settings: &KubernetesSettings) -> Vec<Finding> {
    let name = &settings.config_map;
    let what = format!("config map {name}");
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
    let make = format!(
        "kubectl -n {} create configmap {name} --from-file={CONFIG_FILE}=FILE; or see `kubernetes_config_map_name`",
        settings.namespace
    );
    match ask(api.get(name)).await.found(&what, &make) {
        Ok(map) => judged(&what, &map, settings),
        Err(finding) => vec![finding],
    }
}

fn judged(what: &str, map: &ConfigMap, settings: &KubernetesSettings) -> Vec<Finding> {
    let text = map.data.as_ref().and_then(|data| data.get(CONFIG_FILE));
    let Some(text) = text else {
        let hint = format!("put the configuration of controllers and workers under the key {CONFIG_FILE}");
        return vec![Finding::fail(what, format!("has no key {CONFIG_FILE}")).with_hint(hint)];
    };
    match Format::Yaml.parse(text) {
        Err(error) => vec![Finding::fail(what, format!("{CONFIG_FILE} is {error}"))],
        Ok(config) => {
            let differing = differing(&config["teraslice"], settings);
            let is_fit = differing.is_empty();
            let found = is_fit.then(|| Finding::ok(what, "names this cluster and its master"));
            found.into_iter().chain(differing.into_iter().map(|it| of_difference(what, it))).collect()
        }
    }
}

/// A key, what it says, and what the master's configuration says.
type Difference = (&'static str, String, String);

/// Compares what is written there; what is not written does not matter.
fn differing(theirs: &Value, settings: &KubernetesSettings) -> Vec<Difference> {
    let (host, port) = address::parts(&settings.master_url);
    let ours = [("name", settings.cluster.clone()), ("master_hostname", host), ("port", port.to_string())];
    let differs = |(key, ours): (&'static str, String)| {
        let theirs = match &theirs[key] {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (theirs != ours).then_some((key, theirs, ours))
    };
    ours.into_iter().filter_map(differs).collect()
}

fn of_difference(what: &str, (key, theirs, ours): Difference) -> Finding {
    let detail = format!("{key} is {theirs:?}, the master's configuration says {ours:?}");
    Finding::warn(what, detail).with_hint("pods go by the master's: make both say the same")
}
