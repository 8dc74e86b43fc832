//! The reference of the configuration: every key with its kind, default and meaning.

use std::fmt::Write as _;

use super::keys::{self, Kind};

/// What a key means: section, key, default, meaning.
type Meaning = (&'static str, &'static str, &'static str, &'static str);

const MEANINGS: &[Meaning] = &[
    (
        "terafoundation",
        "connectors",
        "{}",
        "connections by type and name; operations name them by `_connection`",
    ),
    ("terafoundation", "log_level", "info", "what is logged, or a list such as `[{console: info}]`"),
    ("terafoundation", "log_path", ".", "the folder of the log file `teraslice.log`"),
    (
        "terafoundation",
        "logging",
        "[console]",
        "where the roles of a cluster log: `console` (stderr), `file` (lines of JSON in `log_path`), or both",
    ),
    ("terafoundation", "workers", "", "no effect: see `teraslice.workers`"),
    (
        "terafoundation",
        "prom_metrics_enabled",
        "false",
        "whether metrics are served on a port of their own; `/metrics` of the API is always there",
    ),
    ("terafoundation", "prom_metrics_port", "3333", "that port"),
    (
        "terafoundation",
        "prom_metrics_add_default",
        "true",
        "whether figures of the process itself are among the metrics",
    ),
    ("terafoundation", "prom_metrics_display_url", "", "the label `url` of all metrics"),
    ("terafoundation", "environment", "", "no effect: it was removed"),
    ("teraslice", "action_timeout", "2 minutes", "how long a controller may take to answer a command"),
    ("teraslice", "analytics_rate", "", "no effect: controllers report changes at once"),
    ("teraslice", "api_auth", "none", "who may use the API: `none` (everybody who reaches it) or `tokens`"),
    (
        "teraslice",
        "api_body_limit",
        "67108864",
        "bytes of a request's body at the most; uploads have a limit of their own",
    ),
    ("teraslice", "api_response_timeout", "5 minutes", "how long a request may take"),
    (
        "teraslice",
        "api_unprotected",
        "",
        "the words `anyone may run jobs here` open an API without tokens to other machines",
    ),
    ("teraslice", "asset_storage_connection_type", "", "no effect: assets lie in `assets_directory`"),
    ("teraslice", "asset_storage_connection", "", "no effect: assets lie in `assets_directory`"),
    ("teraslice", "asset_storage_bucket", "", "no effect: assets lie in `assets_directory`"),
    (
        "teraslice",
        "assets_directory",
        "assets",
        "where published assets lie, on the master and on every node",
    ),
    ("teraslice", "assets_volume", "", "Kubernetes: the volume claim that is mounted at `assets_directory`"),
    ("teraslice", "autoload_directory", "autoload", "the master publishes every zip in here when it starts"),
    (
        "teraslice",
        "bind",
        "127.0.0.1 or 0.0.0.0",
        "the address that the master listens on; loopback unless `api_auth` or `api_unprotected` says more",
    ),
    (
        "teraslice",
        "cluster_backends",
        "{}",
        "backends of others, by name: `path` of a library or `command` of a process, `sha256`, `config`, `program`; see writing-a-backend.md",
    ),
    (
        "teraslice",
        "cluster_manager_type",
        "native",
        "the backend: `native`, `kubernetes`, or a name under `cluster_backends`",
    ),
    (
        "teraslice",
        "cluster_secret",
        "made by the master",
        "a word that the master and all its nodes share; else `cluster.key` in `state_directory`",
    ),
    ("teraslice", "cpu", "", "cores of a worker whose job does not say"),
    ("teraslice", "memory", "", "bytes of memory of a worker whose job does not say"),
    (
        "teraslice",
        "cpu_execution_controller",
        "0.5",
        "Kubernetes: cores of a controller whose job does not say",
    ),
    (
        "teraslice",
        "memory_execution_controller",
        "512000000",
        "Kubernetes: bytes of memory of a controller whose job does not say",
    ),
    ("teraslice", "env_vars", "{}", "environment of every controller and worker; those of the job win"),
    ("teraslice", "ephemeral_storage", "", "no effect: jobs ask for it themselves"),
    ("teraslice", "execution_controller_targets", "", "Kubernetes: where controllers run"),
    (
        "teraslice",
        "hostname",
        "the address that reaches the master",
        "where others reach the processes of this node",
    ),
    (
        "teraslice",
        "index_rollover_frequency",
        "{state: monthly}",
        "state on a search server: how often there is a new index for slices: daily, monthly, yearly",
    ),
    (
        "teraslice",
        "index_settings",
        "{}",
        "state on a search server: for jobs, execution, state, analytics, assets each number_of_shards (5), number_of_replicas (1)",
    ),
    ("teraslice", "kubernetes_api_poll_delay", "", "Kubernetes: no effect, changes are watched"),
    (
        "teraslice",
        "kubernetes_config_map_name",
        "<name>-worker",
        "Kubernetes: the configuration of controllers and workers",
    ),
    ("teraslice", "kubernetes_image", "teraslice:k8sdev", "Kubernetes: the image of controllers and workers"),
    (
        "teraslice",
        "kubernetes_image_pull_secret",
        "",
        "Kubernetes: the secret to pull it with, or a list of them",
    ),
    ("teraslice", "kubernetes_namespace", "default", "Kubernetes: where controllers and workers run"),
    (
        "teraslice",
        "kubernetes_overrides_enabled",
        "false",
        "Kubernetes: whether jobs may set `pod_spec_override`",
    ),
    (
        "teraslice",
        "kubernetes_priority_class_name",
        "",
        "Kubernetes: the priority of controllers and stateful workers",
    ),
    (
        "teraslice",
        "kubernetes_service_account",
        "default",
        "Kubernetes: the service account of controllers and workers; it needs no rights",
    ),
    (
        "teraslice",
        "kubernetes_worker_antiaffinity",
        "false",
        "Kubernetes: whether workers spread over machines",
    ),
    ("teraslice", "master", "false", "whether this node runs the master too"),
    ("teraslice", "master_hostname", "localhost", "where nodes, controllers and workers find the master"),
    ("teraslice", "name", "teracluster", "the cluster's name"),
    ("teraslice", "network_latency_buffer", "", "no effect: links have time-outs of their own"),
    (
        "teraslice",
        "node_disconnect_timeout",
        "5 minutes",
        "how long the processes of a node out of reach are waited for before others replace them",
    ),
    (
        "teraslice",
        "node_id",
        "the machine's name",
        "names this node; two nodes on one machine need two names",
    ),
    (
        "teraslice",
        "node_secret",
        "",
        "the word of this node alone, in place of `cluster_secret`: see `teraslice node --secret-of`",
    ),
    (
        "teraslice",
        "node_state_interval",
        "5 seconds",
        "how often a node tells everything about itself; changes it tells at once",
    ),
    ("teraslice", "port", "5678", "the port of the API and of the links to the master"),
    ("teraslice", "reporter", "", "no effect: it was never used"),
    ("teraslice", "shutdown_timeout", "1 minute", "how long a process that is told to end may take"),
    (
        "teraslice",
        "slicer_allocation_attempts",
        "",
        "no effect: a controller is placed as soon as a slot is free",
    ),
    (
        "teraslice",
        "slicer_port_range",
        "45679:46678",
        "the ports that controllers listen on; the first is never taken",
    ),
    (
        "teraslice",
        "slicer_timeout",
        "3 minutes",
        "how long a controller waits for its first worker; on Kubernetes it waits until there is one",
    ),
    (
        "teraslice",
        "start_timeout",
        "",
        "how long something may be in the way of a controller's start (no room, no image, no volume) before the execution fails; else it waits",
    ),
    (
        "teraslice",
        "state",
        "{connection: default}",
        "where the master keeps its state: a connection to Elasticsearch or OpenSearch, or sqlite; without connectors it is sqlite",
    ),
    ("teraslice", "state_directory", "~/.local/state/teraslice", "where the master keeps its state"),
    ("teraslice", "tls", "", "encryption of every link: an object of the keys below; present: on"),
    ("teraslice", "wasm", "{}", "the sandbox of assets: an object of the keys below"),
    (
        "teraslice",
        "worker_disconnect_timeout",
        "5 minutes",
        "how long a controller waits once all its workers are gone",
    ),
    (
        "teraslice",
        "workers",
        "4 per processor, at least 8",
        "slots of this node: processes that it runs at the most",
    ),
    ("teraslice.tls", "enabled", "true", "false turns it off again"),
    (
        "teraslice.tls",
        "ca",
        "made by the master",
        "PEM file of the authorities that are believed; else `ca.pem` in `state_directory`",
    ),
    ("teraslice.tls", "cert", "made by the master", "PEM file of this machine's certificate"),
    ("teraslice.tls", "key", "made by the master", "PEM file of its key"),
    ("teraslice.wasm", "memory", "67108864", "bytes of memory of an instance, where the job does not say"),
    ("teraslice.wasm", "memory_max", "1073741824", "the most that a job may ask for"),
    (
        "teraslice.wasm",
        "time_per_batch",
        "1 second",
        "how long a batch may take beside the time for its size, where the job does not say",
    ),
    ("teraslice.wasm", "time_per_batch_max", "1 minute", "the longest that a job may ask for"),
    ("teraslice.wasm", "cache_size", "1073741824", "bytes of compiled assets that are kept"),
    ("teraslice.wasm", "trusted", "", "assets that are never interrupted, by `name` or `name:version`"),
];

/// Returns the reference as Markdown: one table per section.
#[must_use]
pub fn reference() -> String {
    let sections = [
        ("terafoundation", keys::TERAFOUNDATION),
        ("teraslice", keys::TERASLICE),
        ("teraslice.tls", keys::TLS),
        ("teraslice.wasm", keys::WASM),
    ];
    let mut text = String::new();
    for (section, keys) in sections {
        let _infallible = write!(
            text,
            "\n## `{section}`\n\n| key | kind | default | meaning |\n| --- | --- | --- | --- |\n"
        );
        for (key, kind) in keys {
            let (default, meaning) = meaning(section, key);
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let _infallible = writeln!(text, "| `{key}` | {} | {default} | {meaning} |", kind_name(*kind));
        }
    }
    text
}

/// Returns the default and the meaning of a key.
fn meaning(section: &str, key: &str) -> (&'static str, &'static str) {
    let found = MEANINGS.iter().find(|(of, name, ..)| (*of, *name) == (section, key));
    found.map_or(("", ""), |(_, _, default, meaning)| (default, meaning))
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Flag => "true or false",
        Kind::Whole(_) => "whole number",
        Kind::Number => "number",
        Kind::Port => "port",
        Kind::Duration => "milliseconds or text such as \"5 minutes\"",
        Kind::Names => "text or list of text",
        Kind::Object => "object",
        Kind::List => "list",
        Kind::Level => "level",
        Kind::Connectors => "object of objects",
        Kind::Vars => "object of text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_every_key_and_no_other() {
        let sections = [
            ("terafoundation", keys::TERAFOUNDATION),
            ("teraslice", keys::TERASLICE),
            ("teraslice.tls", keys::TLS),
            ("teraslice.wasm", keys::WASM),
        ];
        let known = sections.iter().flat_map(|(section, keys)| keys.iter().map(|(key, _)| (*section, *key)));
        let mut known: Vec<_> = known.collect();
        let mut explained: Vec<_> = MEANINGS.iter().map(|(section, key, ..)| (*section, *key)).collect();
        known.sort_unstable();
        explained.sort_unstable();
        assert_eq!(known, explained);
    }

    #[test]
    fn is_the_page_in_the_documentation() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let intro = "# Configuration\n\nOne file, YAML or JSON, with two sections; those of earlier versions work as they are. Found by `-c FILE`, else by\n`TERAFOUNDATION_CONFIG`, else as `config.yaml` or `teraslice.yaml` (`.yml`, `.json`) in `/app/config` or the current folder. Unknown\nkeys are warnings (errors under `teraslice config check`), wrong values are errors. This page is `teraslice config reference`.\n";
            std::fs::write(page, format!("{intro}{}", reference())).unwrap();
        }
        let text = std::fs::read_to_string(page).unwrap();
        assert!(text.ends_with(&reference()), "run this test with UPDATE_DOCS=1");
    }
}
