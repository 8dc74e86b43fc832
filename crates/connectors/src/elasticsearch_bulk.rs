//! `elasticsearch_bulk`: writes records to an index.

mod body;
mod item;
mod pace;
mod sending;
mod sink;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_core::{
    operation::{OperationError, OperationInfo, OperationKind, Sink},
    registry::{SinkKind, WorkerContext},
};
use teraslice_elastic::Connections;
use teraslice_model::{
    dead_letter::DeadLetterAction,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::elastic::{check_connection, check_index};
use item::{Mode, Script};
use pace::{Pace, Target};

/// The most of a script that is read from a file.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;

/// The targets that sinks of this process write to, by connection and index.
type Targets = HashMap<(String, String), Weak<Target>>;

/// Writes records to an index of Elasticsearch or OpenSearch, with bulk requests.
///
/// A document's id is the record's `_key` (metadata); without one it is derived from the slice and the record's place in it
/// (`derive_id`), so that a slice that is written again replaces its own documents. With `derive_id: false` the server makes
/// ids, which is faster, and a repeat doubles the documents of records that have no `_key`. A scripted update that is
/// repeated runs its script again.
///
/// Requests go out while the slice is still being read, several at a time, and are all answered before the slice counts.
/// What of an aborted slice was sent already stays until the slice comes again.
#[derive(Clone, Debug)]
pub struct ElasticsearchBulk {
    connections: Connections,
}

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct ElasticsearchBulkConfig {
    index: String,
    /// Items per request; absent: 500 at first, and more while that pays.
    size: Option<usize>,
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    create: bool,
    #[serde(default)]
    update: bool,
    #[serde(default)]
    upsert: bool,
    #[serde(default)]
    update_fields: Vec<String>,
    #[serde(default)]
    update_retry_on_conflict: u32,
    /// A file on the worker, or the id of a script that the server keeps.
    #[serde(default)]
    script_file: String,
    #[serde(default)]
    script: String,
    /// From the script's parameters to fields of the record.
    #[serde(default)]
    script_params: BTreeMap<String, String>,
    /// Whether records without `_key` get an id that a repeat gives them again.
    #[serde(default = "yes")]
    derive_id: bool,
}

const fn yes() -> bool {
    true
}

impl ElasticsearchBulk {
    /// Makes the sink; it writes through `connections`.
    #[must_use]
    pub fn new(connections: &Connections) -> Self {
        Self { connections: connections.clone() }
    }
}

impl ElasticsearchBulkConfig {
    const fn mode(&self) -> Mode {
        match self {
            Self { delete: true, .. } => Mode::Delete,
            Self { create: true, .. } => Mode::Create,
            Self { update: true, .. } => Mode::Update,
            Self { upsert: true, .. } => Mode::Upsert,
            _ => Mode::Index,
        }
    }

    /// Finds the script: its text, or the server's name for it.
    fn script(&self) -> Result<Option<Script>, Problem> {
        if !self.script.is_empty() {
            return Ok(Some(Script::Source(self.script.clone())));
        }
        if self.script_file.is_empty() {
            return Ok(None);
        }
        let path = Path::new(&self.script_file);
        let Ok(found) = path.metadata() else {
            if path.is_absolute() {
                let message = format!("script_file is {:?}, which does not exist", self.script_file);
                return Err(Problem::new("/script_file", message)
                    .with_hint("name a file on every worker, or the id of a stored script"));
            }
            return Ok(Some(Script::Stored(self.script_file.clone())));
        };
        if found.len() > SCRIPT_BYTES_MAX {
            let message =
                format!("script_file has {} bytes, at most {SCRIPT_BYTES_MAX} are read", found.len());
            return Err(Problem::new("/script_file", message));
        }
        let source = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("script_file {:?} cannot be read: {error}", self.script_file);
            Problem::new("/script_file", message)
        })?;
        Ok(Some(Script::Source(source)))
    }
}

#[async_trait]
impl SinkKind for ElasticsearchBulk {
    type Config = ElasticsearchBulkConfig;

    fn info(&self) -> OperationInfo {
        let description = "Writes records to an index of Elasticsearch or OpenSearch.";
        OperationInfo::built_in("elasticsearch_bulk", OperationKind::Sink, description, schema())
    }

    fn api(&self) -> Option<&'static str> {
        Some("elasticsearch_sender_api")
    }

    fn check(&self, config: &Self::Config, operation: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        let mut problems: Vec<_> = check_connection(&self.connections, operation).into_iter().collect();
        problems.extend(check_index(&config.index, true));
        if config.size == Some(0) {
            problems.push(Problem::new("/size", "size is 0, at least 1 item is needed"));
        }
        let modes = [
            ("delete", config.delete),
            ("create", config.create),
            ("update", config.update),
            ("upsert", config.upsert),
        ];
        let set: Vec<_> = modes.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        if let [_, second, ..] = set.as_slice() {
            let message = format!("{} are all true, they exclude each other", set.join(" and "));
            problems.push(Problem::new(format!("/{second}"), message).with_hint("set one of them"));
        }
        problems
    }

    async fn sink(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError> {
        let client = self.connections.get(operation.connection.as_deref()).map_err(OperationError::job)?;
        let target = target(client.name(), &config);
        // Two sinks of a job, such as one for records and one for dead letters, derive ids that differ.
        let salt = format!("{}\0{}", operation.api_name.as_deref().unwrap_or_default(), config.index);
        let is_exact = !matches!(operation.dead_letter_action, None | Some(DeadLetterAction::Throw));
        let (config, script) = context
            .context
            .compute(move || {
                let script = config.script();
                (config, script)
            })
            .await;
        let items = item::Items {
            mode: config.mode(),
            index: config.index,
            update_fields: config.update_fields,
            retry_on_conflict: config.update_retry_on_conflict,
            script: script.map_err(OperationError::job)?,
            script_params: config.script_params,
            derives_ids: config.derive_id,
        };
        let sender = sending::Sender { client, target, context: context.context, mode: items.mode };
        Ok(Box::new(sink::BulkSink::new(items, sender, salt, is_exact)))
    }
}

/// Returns what is known of a target; all sinks of the process share it.
fn target(connection: &str, config: &ElasticsearchBulkConfig) -> Arc<Target> {
    static TARGETS: Mutex<Option<Targets>> = Mutex::new(None);
    let mut targets = TARGETS.lock().unwrap_or_else(PoisonError::into_inner);
    let targets = targets.get_or_insert_default();
    targets.retain(|_, target| target.strong_count() > 0);
    let key = (connection.to_owned(), config.index.clone());
    if let Some(known) = targets.get(&key).and_then(Weak::upgrade) {
        return known;
    }
    let target = Arc::new(Target::new(Pace::new(config.size)));
    let _none = targets.insert(key, Arc::downgrade(&target));
    target
}

fn schema() -> Value {
    json!({"properties": {
        "index": {"type": "string", "description": "where to write; a record with a route goes to index-<route>"},
        "size": {"type": "integer", "default": 500, "description": "items per request; not set: adapted to the server"},
        "delete": {"type": "boolean", "default": false},
        "create": {"type": "boolean", "default": false},
        "update": {"type": "boolean", "default": false},
        "upsert": {"type": "boolean", "default": false},
        "update_fields": {"type": "array", "description": "fields to update; empty: all"},
        "update_retry_on_conflict": {"type": "integer", "default": 0},
        "script_file": {"type": "string", "description": "a file on the worker, or the id of a stored script"},
        "script": {"type": "string", "description": "the text of a script"},
        "script_params": {"type": "object", "description": "parameter -> field of the record"},
        "derive_id": {
            "type": "boolean",
            "default": true,
            "description": "records without _key get an id that a repeat gives them again"
        },
        "type": {"type": "string", "description": "accepted for old jobs; without effect"},
    }, "required": ["index"]})
}

#[cfg(test)]
mod tests;
