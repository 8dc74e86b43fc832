//! Cluster backends of third parties: `cluster_backends`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use teraslice_backend_plugin::Transport;
use teraslice_model::problem::{Problem, escape_pointer};

use super::keys::{Kind, Report, check_section};

/// Where they stand in the file.
const POINTER: &str = "/teraslice/cluster_backends";
/// Digits of a SHA-256.
const SHA256_LEN: usize = 64;

/// The keys of a backend.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("transport", Kind::Text),
    ("path", Kind::Text),
    ("command", Kind::Names),
    ("sha256", Kind::Text),
    ("config", Kind::Object),
    ("program", Kind::Text),
];

/// A backend of a third party, as the configuration names it.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConfig {
    /// How it is reached (`transport`, `path`, `command`, `sha256`).
    pub transport: Transport,
    /// Its own configuration (`config`); only the backend knows what is right.
    pub config: Value,
    /// Where that stands in the file.
    pub config_pointer: String,
    /// This program on the machines that the backend starts processes on (`program`); absent: as on this machine.
    pub program: Option<String>,
}

/// Reads the backends.
pub(super) fn backends(section: Option<&Value>, report: &mut Report) -> BTreeMap<String, BackendConfig> {
    let entries = section.and_then(Value::as_object).into_iter().flatten();
    let read = entries.filter_map(|(name, entry)| {
        let pointer = format!("{POINTER}/{}", escape_pointer(name));
        if name == "native" || name.starts_with("kubernetes") || name.is_empty() || name.contains('/') {
            let message = format!("the name {name:?} is taken or cannot be one");
            report
                .problems
                .push(Problem::new(pointer, message).with_hint("choose another, such as my-backend"));
            return None;
        }
        let Some(entry) = entry.as_object() else {
            report.problems.push(Problem::new(pointer, format!("{name} must be an object, found {entry}")));
            return None;
        };
        Some((name.clone(), backend(entry, &pointer, report)?))
    });
    read.collect()
}

fn backend(entry: &Map<String, Value>, pointer: &str, report: &mut Report) -> Option<BackendConfig> {
    let problems_before = report.problems.len();
    let set = check_section(entry, pointer, KEYS, report);
    if report.problems.len() > problems_before {
        return None;
    }
    let text = |key: &str| set.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let mut refuse = |key: &str, message: String| {
        report.problems.push(Problem::new(format!("{pointer}/{key}"), message));
        None
    };
    let sha256 = text("sha256");
    if let Some(sha256) = &sha256
        && (sha256.len() != SHA256_LEN || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return refuse("sha256", format!("sha256 must be {SHA256_LEN} hexadecimal digits, found {sha256:?}"));
    }
    let transport = match (text("transport").as_deref(), text("path"), set.get("command")) {
        (None | Some("library"), Some(path), None) => Transport::Library { path: path.into(), sha256 },
        (None | Some("process"), None, Some(command)) => {
            let command = match command {
                Value::String(program) => vec![program.clone()],
                words => words
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|it| it.as_str())
                    .map(str::to_owned)
                    .collect(),
            };
            Transport::Process { command, sha256 }
        }
        (Some(other), ..) if !["library", "process"].contains(&other) => {
            return refuse("transport", format!("transport must be library or process, found {other:?}"));
        }
        _ => {
            let message = "a library needs path, a process needs command; exactly one of them".to_owned();
            return refuse("transport", message);
        }
    };
    let config = set.get("config").map_or_else(|| json!({}), |config| (*config).clone());
    Some(BackendConfig {
        transport,
        config,
        config_pointer: format!("{pointer}/config"),
        program: text("program"),
    })
}
