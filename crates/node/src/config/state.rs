//! Where the master keeps its state.

use serde_json::{Map, Value};
use teraslice_elastic::Connections;
use teraslice_model::problem::Problem;
use teraslice_store::{Indices, Rollover, Shards};

use super::{keys::Report, values::Set};

/// The word for the store that needs no server.
const SQLITE: &str = "sqlite";
/// The largest number of shards, and of replicas, that servers take.
const SHARDS_MAX: u32 = 1_024;
/// The connection that counts when none is named.
const DEFAULT: &str = "default";

/// Where the master keeps its state (`teraslice.state`, `index_settings`, `index_rollover_frequency`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateConfig {
    /// The connection to Elasticsearch or OpenSearch; absent: SQLite in the state directory.
    pub connection: Option<String>,
    /// How the indices there are made (`index_settings`, `index_rollover_frequency`).
    pub indices: Indices,
}

impl StateConfig {
    /// Reads the keys. Without `state`, state lies on the connection `default` if the file has connectors with one.
    pub(super) fn of(
        ours: &Set<'_>,
        has_connectors: bool,
        elastic: &Connections,
        report: &mut Report,
    ) -> Self {
        let empty = Map::new();
        let object = |key: &str| ours.get(key).and_then(|value| value.as_object()).unwrap_or(&empty);
        let connection = match object("state").get("connection") {
            None | Some(Value::Null) => {
                (has_connectors && elastic.find(DEFAULT).is_some()).then(|| DEFAULT.to_owned())
            }
            Some(Value::String(name)) if name == SQLITE => None,
            Some(Value::String(name)) => {
                if let Err(problem) = elastic.get(Some(name)) {
                    let problem = Problem { pointer: "/teraslice/state/connection".to_owned(), ..problem };
                    report.problems.push(problem);
                }
                Some(name.clone())
            }
            Some(other) => {
                let message =
                    format!("connection must be the name of a connection, or sqlite, found {other}");
                report.problems.push(Problem::new("/teraslice/state/connection", message));
                None
            }
        };
        let mut shards = |store: &str| shards(object("index_settings"), store, report);
        let indices = Indices {
            jobs: shards("jobs"),
            execution: shards("execution"),
            state: shards("state"),
            analytics: shards("analytics"),
            assets: shards("assets"),
            rollover: rollover(object("index_rollover_frequency"), report),
        };
        Self { connection, indices }
    }
}

fn shards(settings: &Map<String, Value>, store: &str, report: &mut Report) -> Shards {
    let mut number = |key: &str, least: u32, default: u32| {
        let value = settings.get(store).and_then(|store| store.get(key)).filter(|value| !value.is_null());
        let Some(value) = value else { return default };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| (least..=SHARDS_MAX).contains(number)).unwrap_or_else(|| {
            let pointer = format!("/teraslice/index_settings/{store}/{key}");
            let message = format!("{key} must be a whole number from {least} to {SHARDS_MAX}, found {value}");
            report.problems.push(Problem::new(pointer, message));
            default
        })
    };
    let Shards { count, replicas } = Shards::default();
    Shards {
        count: number("number_of_shards", 1, count),
        replicas: number("number_of_replicas", 0, replicas),
    }
}

fn rollover(frequencies: &Map<String, Value>, report: &mut Report) -> Rollover {
    let Some(value) = frequencies.get("state").filter(|value| !value.is_null()) else {
        return Rollover::default();
    };
    match value.as_str() {
        Some("daily") => Rollover::Daily,
        Some("monthly") => Rollover::Monthly,
        Some("yearly") => Rollover::Yearly,
        _ => {
            let message = format!("state must be daily, monthly or yearly, found {value}");
            report.problems.push(Problem::new("/teraslice/index_rollover_frequency/state", message));
            Rollover::default()
        }
    }
}
