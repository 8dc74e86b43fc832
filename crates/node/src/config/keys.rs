//! Every key of the configuration and the kind of value that it takes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use teraslice_model::{
    job::duration::parse_duration,
    problem::{Problem, escape_pointer, nearest},
};

use super::values::level;

/// The kind of value that a key takes. Null counts as absent for every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    /// A whole number of at least this.
    Whole(u64),
    Number,
    Port,
    Duration,
    /// Text or a list of text.
    Names,
    Object,
    List,
    Level,
    /// Object of connector types, each an object of connections, each an object.
    Connectors,
    /// Object of names and scalars.
    Vars,
}

/// The sections of the file.
pub(super) const SECTIONS: &[(&str, Kind)] = &[("terafoundation", Kind::Object), ("teraslice", Kind::Object)];

/// The keys of `terafoundation`.
pub(super) const TERAFOUNDATION: &[(&str, Kind)] = &[
    ("connectors", Kind::Connectors),
    ("log_level", Kind::Level),
    ("log_path", Kind::Text),
    ("logging", Kind::List),
    ("workers", Kind::Whole(0)),
    ("prom_metrics_enabled", Kind::Flag),
    ("prom_metrics_port", Kind::Port),
    ("prom_metrics_add_default", Kind::Flag),
    ("prom_metrics_display_url", Kind::Text),
    ("environment", Kind::Text),
];

/// The keys of `teraslice`.
pub(super) const TERASLICE: &[(&str, Kind)] = &[
    ("action_timeout", Kind::Duration),
    ("analytics_rate", Kind::Duration),
    ("api_auth", Kind::Text),
    ("api_body_limit", Kind::Whole(1_024)),
    ("api_response_timeout", Kind::Duration),
    ("api_unprotected", Kind::Text),
    ("asset_storage_connection_type", Kind::Text),
    ("asset_storage_connection", Kind::Text),
    ("asset_storage_bucket", Kind::Text),
    ("assets_directory", Kind::Names),
    ("assets_volume", Kind::Text),
    ("autoload_directory", Kind::Text),
    ("bind", Kind::Text),
    ("cluster_backends", Kind::Object),
    ("cluster_manager_type", Kind::Text),
    ("cluster_secret", Kind::Text),
    ("cpu", Kind::Number),
    ("memory", Kind::Number),
    ("cpu_execution_controller", Kind::Number),
    ("memory_execution_controller", Kind::Number),
    ("env_vars", Kind::Vars),
    ("ephemeral_storage", Kind::Flag),
    ("execution_controller_targets", Kind::List),
    ("hostname", Kind::Text),
    ("index_rollover_frequency", Kind::Object),
    ("index_settings", Kind::Object),
    ("kubernetes_api_poll_delay", Kind::Duration),
    ("kubernetes_config_map_name", Kind::Text),
    ("kubernetes_image", Kind::Text),
    ("kubernetes_image_pull_secret", Kind::Names),
    ("kubernetes_namespace", Kind::Text),
    ("kubernetes_overrides_enabled", Kind::Flag),
    ("kubernetes_priority_class_name", Kind::Text),
    ("kubernetes_service_account", Kind::Text),
    ("kubernetes_worker_antiaffinity", Kind::Flag),
    ("master", Kind::Flag),
    ("master_hostname", Kind::Text),
    ("name", Kind::Text),
    ("network_latency_buffer", Kind::Duration),
    ("node_disconnect_timeout", Kind::Duration),
    ("node_id", Kind::Text),
    ("node_secret", Kind::Text),
    ("node_state_interval", Kind::Duration),
    ("port", Kind::Port),
    ("reporter", Kind::Text),
    ("shutdown_timeout", Kind::Duration),
    ("slicer_allocation_attempts", Kind::Whole(0)),
    ("slicer_port_range", Kind::Text),
    ("slicer_timeout", Kind::Duration),
    ("start_timeout", Kind::Duration),
    ("state", Kind::Object),
    ("state_directory", Kind::Text),
    ("tls", Kind::Object),
    ("wasm", Kind::Object),
    ("worker_disconnect_timeout", Kind::Duration),
    ("workers", Kind::Whole(0)),
];

/// The keys of `teraslice.wasm`.
pub(super) const WASM: &[(&str, Kind)] = &[
    ("memory", Kind::Whole(65_536)),
    ("memory_max", Kind::Whole(65_536)),
    ("time_per_batch", Kind::Duration),
    ("time_per_batch_max", Kind::Duration),
    ("cache_size", Kind::Whole(0)),
    ("trusted", Kind::Names),
];

/// The keys of `teraslice.tls`.
pub(super) const TLS: &[(&str, Kind)] =
    &[("enabled", Kind::Flag), ("ca", Kind::Text), ("cert", Kind::Text), ("key", Kind::Text)];

/// Keys that are accepted and have no effect, and why.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("analytics_rate", "controllers report changes at once"),
    ("asset_storage_bucket", "assets lie in assets_directory"),
    ("asset_storage_connection", "assets lie in assets_directory"),
    ("asset_storage_connection_type", "assets lie in assets_directory"),
    ("ephemeral_storage", "jobs ask for it themselves"),
    ("network_latency_buffer", "links have time-outs of their own"),
    ("reporter", "it was never used"),
    ("slicer_allocation_attempts", "a controller is placed as soon as a slot is free"),
    ("environment", "it was removed"),
];

/// What a check has found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Checks the keys of one section and returns those that are set.
pub(super) fn check_section<'a>(
    section: &'a Map<String, Value>,
    pointer: &str,
    keys: &[(&'static str, Kind)],
    report: &mut Report,
) -> BTreeMap<&'static str, &'a Value> {
    let mut set = BTreeMap::new();
    for (key, value) in section {
        let place = format!("{pointer}/{}", escape_pointer(key));
        let Some((key, kind)) = keys.iter().find(|(known, _)| known == key) else {
            let known: Vec<_> = keys.iter().map(|(known, _)| *known).collect();
            let problem = Problem::new(place, format!("unknown key {key:?} has no effect"));
            report.warnings.push(match nearest(key, &known) {
                Some(near) => problem.with_hint(format!("did you mean {near:?}?")),
                None => problem,
            });
            continue;
        };
        if value.is_null() {
            continue;
        }
        if let Some(wanted) = kind.refuses(value) {
            report.problems.push(Problem::new(place, format!("{key} must be {wanted}, found {value}")));
        }
        set.insert(*key, value);
    }
    set
}

impl Kind {
    /// Says what is wanted instead of `value`; nothing when it is right.
    fn refuses(self, value: &Value) -> Option<String> {
        let (is_right, wanted) = match self {
            Self::Text => (value.is_string(), "text"),
            Self::Flag => {
                (value.is_boolean() || matches!(value.as_str(), Some("true" | "false")), "true or false")
            }
            Self::Whole(least) => {
                let is_right =
                    number(value).is_some_and(|number| number.fract() == 0.0 && number >= least as f64);
                return (!is_right).then(|| format!("a whole number of at least {least}"));
            }
            Self::Number => (number(value).is_some(), "a number"),
            Self::Port => {
                let is_port = |number: f64| number.fract() == 0.0 && (1.0..=65_535.0).contains(&number);
                (number(value).is_some_and(is_port), "a port from 1 to 65535")
            }
            Self::Duration => {
                let is_text = value.as_str().is_some_and(|text| parse_duration(text).is_some());
                (value.as_u64().is_some() || is_text, "milliseconds or a duration such as \"5 minutes\"")
            }
            Self::Names => {
                let is_list = value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
                (value.is_string() || is_list, "text or a list of text")
            }
            Self::Object => (value.is_object(), "an object"),
            Self::List => (value.is_array(), "a list"),
            Self::Level => (
                ["console", "file"].iter().all(|place| level(value, place).is_some()),
                "trace, debug, info, warn, error or fatal",
            ),
            Self::Connectors => {
                let is_connector = |connections: &Value| {
                    connections.as_object().is_some_and(|all| all.values().all(Value::is_object))
                };
                let is_right = value.as_object().is_some_and(|types| types.values().all(is_connector));
                (is_right, "an object of connector types, each an object of connections")
            }
            Self::Vars => {
                let is_scalar = |entry: &Value| !entry.is_object() && !entry.is_array();
                (value.as_object().is_some_and(|vars| vars.values().all(is_scalar)), "an object of text")
            }
        };
        (!is_right).then(|| wanted.to_owned())
    }
}

/// Returns the number that a value is or spells.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number: &f64| number.is_finite())
}
