//! Jobs, executions and assets as documents: the original's fields, and under `_internal` what those have no room for.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use teraslice_core::store::StoreError;
use teraslice_model::{
    asset::AssetRecord,
    execution::{Execution, JobRecord, Stats},
    id::{Epoch, Generation},
    timestamp::Timestamp,
};

use super::{documents::Document, error::unreadable};

/// Numbers documents in the order in which they were made.
pub(super) const NUMBER: &str = "_number";
const INTERNAL: &str = "_internal";

/// Fields of a job's document that are not the job's own.
const OF_JOB: [&str; 8] =
    ["job_id", "_context", "_created", "_updated", "_deleted", "_deleted_on", NUMBER, INTERNAL];
/// Fields of an execution's document that are not the job's own.
const OF_EXECUTION: [&str; 19] = [
    "ex_id",
    "job_id",
    "_context",
    "_created",
    "_updated",
    "_status",
    "_has_errors",
    "_failureReason",
    "_slicer_stats",
    "metadata",
    "teraslice_version",
    "slicer_hostname",
    "slicer_port",
    "recovered_execution",
    "recovered_slice_type",
    "_deleted",
    "_deleted_on",
    NUMBER,
    INTERNAL,
];

/// What a document says beside the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Beside {
    /// Its place in the order of creation; absent in documents of the original.
    pub(super) number: Option<u64>,
    /// The rest.
    pub(super) internal: Internal,
}

/// What the original's fields have no room for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Internal {
    /// Whether the original made the document: its unfinished slices are where the original keeps them.
    #[serde(default, skip_serializing_if = "is_no")]
    pub(super) is_adopted: bool,
    /// Names the last change, so that a change whose answer was lost is known again.
    #[serde(default)]
    pub(super) change: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workers_wanted: Option<u32>,
    /// Entries of the job that fields of the document have taken the place of.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    job: Map<String, Value>,
    /// Fields of the document that look like the job's own and are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_of_job: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_no(flag: &bool) -> bool {
    !*flag
}

impl Beside {
    /// Returns what stands beside a new record.
    pub(super) fn new(number: u64) -> Self {
        Self { number: Some(number), internal: Internal { change: number, ..Internal::default() } }
    }

    fn of(document: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let number = document.get(NUMBER).and_then(Value::as_u64);
        let internal = match document.get(INTERNAL) {
            Some(internal) => read(internal)?,
            None => Internal { is_adopted: true, ..Internal::default() },
        };
        Ok(Self { number, internal })
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(value)
}

/// Writes a job's document.
pub(super) fn write_job(job: &JobRecord, beside: &Beside) -> Vec<u8> {
    finish(job.document(), &job.job, &OF_JOB, beside.clone())
}

/// Writes an execution's document.
pub(super) fn write_execution(execution: &Execution, beside: &Beside) -> Vec<u8> {
    let mut beside = beside.clone();
    beside.internal.generation = Some(execution.generation);
    beside.internal.epoch = Some(execution.epoch);
    beside.internal.workers_wanted = execution.workers_wanted;
    finish(execution.document(), &execution.job, &OF_EXECUTION, beside)
}

/// Adds what stands beside the record, and what of the job is not seen in the document.
fn finish(
    mut document: Map<String, Value>,
    job: &Map<String, Value>,
    others: &[&str],
    mut beside: Beside,
) -> Vec<u8> {
    let is_other = |key: &str| others.contains(&key);
    let hidden = job.iter().filter(|(key, value)| is_other(key) || document.get(*key) != Some(*value));
    beside.internal.job = hidden.map(|(key, value)| (key.clone(), value.clone())).collect();
    let added = document.keys().filter(|key| !is_other(key) && !job.contains_key(*key));
    beside.internal.not_of_job = added.cloned().collect();
    if let Some(number) = beside.number {
        document.insert(NUMBER.to_owned(), number.into());
    }
    let internal = serde_json::to_value(&beside.internal).expect("its keys are text");
    document.insert(INTERNAL.to_owned(), internal);
    serde_json::to_vec(&document).expect("its keys are text")
}

/// Reads a job's document.
pub(super) fn read_job(document: &Document) -> Result<(JobRecord, Beside), StoreError> {
    let fields: Map<String, Value> = document.parse()?;
    let read = || -> Result<_, serde_json::Error> {
        let beside = Beside::of(&fields)?;
        let created = required(&fields, "_created")?;
        let updated = optional(&fields, "_updated")?.unwrap_or(created);
        let job = JobRecord {
            job_id: required(&fields, "job_id")?,
            deleted: deleted(&fields, updated)?,
            created,
            updated,
            job: job_of(&fields, &OF_JOB, &beside.internal),
        };
        Ok((job, beside))
    };
    read().map_err(|error| unreadable(&document.index, &document.id, error))
}

/// Reads an execution's document.
pub(super) fn read_execution(document: &Document) -> Result<(Execution, Beside), StoreError> {
    let fields: Map<String, Value> = document.parse()?;
    let read = || -> Result<_, serde_json::Error> {
        let beside = Beside::of(&fields)?;
        let created = required(&fields, "_created")?;
        let updated = optional(&fields, "_updated")?.unwrap_or(created);
        let failure: Option<String> = optional(&fields, "_failureReason")?;
        let execution = Execution {
            ex_id: required(&fields, "ex_id")?,
            job_id: required(&fields, "job_id")?,
            status: required(&fields, "_status")?,
            generation: beside.internal.generation.unwrap_or_default(),
            epoch: beside.internal.epoch.unwrap_or_default(),
            failure: failure.filter(|failure| !failure.is_empty()),
            stats: fields.get("_slicer_stats").map(read_stats).unwrap_or_default(),
            recovered_execution: optional(&fields, "recovered_execution")?,
            recovered_slice_type: optional(&fields, "recovered_slice_type")?,
            metadata: optional(&fields, "metadata")?.unwrap_or_default(),
            workers_wanted: beside.internal.workers_wanted,
            slicer_hostname: optional(&fields, "slicer_hostname")?,
            slicer_port: optional(&fields, "slicer_port")?,
            deleted: deleted(&fields, updated)?,
            created,
            updated,
            job: job_of(&fields, &OF_EXECUTION, &beside.internal),
        };
        Ok((execution, beside))
    };
    read().map_err(|error| unreadable(&document.index, &document.id, error))
}

/// Reads statistics; what the original does not write counts as none.
pub(super) fn read_stats(found: &Value) -> Stats {
    let Ok(Value::Object(mut stats)) = serde_json::to_value(Stats::default()) else {
        return Stats::default();
    };
    let found = found.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    stats.extend(found.map(|(key, value)| (key.clone(), value.clone())));
    Stats::deserialize(Value::Object(stats)).unwrap_or_default()
}

/// Writes an asset's document.
pub(super) fn write_asset(asset: &AssetRecord, number: u64) -> Vec<u8> {
    let Ok(Value::Object(mut document)) = serde_json::to_value(asset) else { unreachable!("it is a struct") };
    document.insert(NUMBER.to_owned(), number.into());
    serde_json::to_vec(&document).expect("its keys are text")
}

/// Reads an asset's document. One of the original has neither checksum nor size: none of its bundles can be used here.
pub(super) fn read_asset(document: &Document) -> Result<AssetRecord, StoreError> {
    let mut fields: Map<String, Value> = document.parse()?;
    fields.retain(|_, value| !value.is_null());
    for (key, unknown) in [("sha256", Value::from("")), ("size", 0.into())] {
        fields.entry(key).or_insert(unknown);
    }
    AssetRecord::deserialize(Value::Object(fields))
        .map_err(|error| unreadable(&document.index, &document.id, error))
}

/// Puts the job together again.
fn job_of(fields: &Map<String, Value>, others: &[&str], internal: &Internal) -> Map<String, Value> {
    let is_own = |key: &String| !others.contains(&key.as_str()) && !internal.not_of_job.contains(key);
    let mut job: Map<_, _> = fields
        .iter()
        .filter(|(key, _)| is_own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    job.extend(internal.job.clone());
    job
}

fn required<T: DeserializeOwned>(fields: &Map<String, Value>, key: &str) -> Result<T, serde_json::Error> {
    read(fields.get(key).unwrap_or(&Value::Null))
        .map_err(|error| serde::de::Error::custom(format!("{key}: {error}")))
}

fn optional<T: DeserializeOwned>(
    fields: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, serde_json::Error> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(_) => required(fields, key).map(Some),
    }
}

fn deleted(fields: &Map<String, Value>, updated: Timestamp) -> Result<Option<Timestamp>, serde_json::Error> {
    let on = optional(fields, "_deleted_on")?;
    Ok(on.or_else(|| (fields.get("_deleted") == Some(&Value::Bool(true))).then_some(updated)))
}
