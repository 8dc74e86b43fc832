//! Counts records on the server.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_core::operation::OperationError;
use teraslice_elastic::{Client, Connections, Error, Request, index_path};
use teraslice_model::{job::OperationConfig, problem::Problem};

use super::{
    IndexReaderConfig,
    query::{Part, Query, key},
};
use crate::elastic::{PATIENCE, failed};

/// The first and the last date that all servers can read: of the years 1 and 9999.
const DATES: (i64, i64) = (-62_135_596_800_000, 253_370_764_800_000);

/// Counts the records of an input.
#[async_trait]
pub(crate) trait Counter: Send + Sync + fmt::Debug {
    /// Looks at the records with dates in a range that may be open: how many there are, the first and the last date.
    async fn survey(&self, from: Option<i64>, to: Option<i64>) -> Result<Option<Survey>, OperationError>;

    /// Counts by cells of a grid, and returns those that have records, in order: where each begins.
    async fn histogram(&self, stretch: Stretch) -> Result<Vec<(i64, u64)>, OperationError>;

    /// Returns the first date from `from` on and before `to`.
    async fn first(&self, from: i64, to: i64) -> Result<Option<i64>, OperationError>;

    /// Counts the records of a part whose ids go on behind `prefix` with each of the characters, in order, and at the end
    /// those that go on otherwise.
    async fn keys(
        &self,
        dates: Option<(i64, i64)>,
        prefix: &str,
        next: &[char],
    ) -> Result<Vec<u64>, OperationError>;
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) count: u64,
    /// The first and the last date.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// The cells of a grid from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Where the grid begins.
    pub(crate) origin: i64,
    pub(crate) step: i64,
}

/// Counts the records of an index.
#[derive(Clone, Debug)]
pub(crate) struct IndexCounter {
    pub(crate) client: Client,
    pub(crate) index: String,
    pub(crate) query: Query,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    hits: Hits,
    #[serde(default)]
    aggregations: Aggregations,
}

#[derive(Default, Deserialize)]
struct Hits {
    total: Option<Total>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

#[derive(Default, Deserialize)]
struct Aggregations {
    first: Option<Number>,
    last: Option<Number>,
    dates: Option<Buckets<Vec<DateBucket>>>,
    keys: Option<Buckets<BTreeMap<String, Bucket>>>,
}

#[derive(Deserialize)]
struct Number {
    value: Option<f64>,
}

#[derive(Deserialize)]
struct Buckets<T> {
    buckets: T,
}

#[derive(Deserialize)]
struct DateBucket {
    key: f64,
    doc_count: u64,
}

#[derive(Deserialize)]
struct Bucket {
    doc_count: u64,
}

impl IndexCounter {
    /// Makes the counter of an operation.
    pub(crate) fn connect(
        connections: &Connections,
        config: &IndexReaderConfig,
        operation: &OperationConfig,
    ) -> Result<Arc<Self>, OperationError> {
        let client = connections.get(operation.connection.as_deref()).map_err(OperationError::job)?;
        Ok(Arc::new(Self { client, index: config.index.clone(), query: Query::new(config) }))
    }

    async fn search(&self, body: &Value) -> Result<Answer, OperationError> {
        let path = format!(
            "{}/_search?allow_partial_search_results=false&filter_path=hits.total,aggregations.*.value,\
             aggregations.*.buckets.key,aggregations.*.buckets.doc_count,aggregations.*.buckets.*.doc_count",
            index_path(&self.index)
        );
        let request = Request::post(path).json(body).patience(PATIENCE);
        let answer = self.client.send(&request).await.map_err(|error| refused(&error))?;
        answer.json().map_err(|error| failed(&error))
    }
}

/// Says what is wrong with the job when the server refuses to count.
fn refused(error: &Error) -> OperationError {
    let pointer = match error.status() {
        Some(404) => "/index",
        Some(400) => "/query",
        _ => return failed(error),
    };
    OperationError::job(Problem::new(pointer, error.to_string()))
}

/// Servers write times as floating point numbers, which hold milliseconds exactly.
#[expect(clippy::cast_possible_truncation, reason = "a time of the server is a whole number far below 2^53")]
const fn millis(value: f64) -> i64 {
    value as i64
}

#[async_trait]
impl Counter for IndexCounter {
    async fn survey(&self, from: Option<i64>, to: Option<i64>) -> Result<Option<Survey>, OperationError> {
        let field = self.query.date_field();
        let has_bound = from.or(to).is_some();
        let dates = has_bound.then(|| (from.unwrap_or(DATES.0), to.unwrap_or(DATES.1)));
        let query = self.query.of(&Part { dates, ..Part::default() });
        let body = json!({
            "size": 0,
            "track_total_hits": true,
            "query": query,
            "aggs": {"first": {"min": {"field": field}}, "last": {"max": {"field": field}}},
        });
        let answer = self.search(&body).await?;
        let bound = |number: Option<Number>| number.and_then(|number| number.value).map(millis);
        let Aggregations { first, last, .. } = answer.aggregations;
        let count = answer.hits.total.map_or(0, |total| total.value);
        match (bound(first), bound(last)) {
            (Some(first), Some(last)) if count > 0 => Ok(Some(Survey { count, first, last })),
            (None, _) if count > 0 => {
                let message = format!("date_field_name is {field:?}, which none of the {count} records has");
                Err(OperationError::job(Problem::new("/date_field_name", message)))
            }
            _ => Ok(None),
        }
    }

    async fn histogram(&self, stretch: Stretch) -> Result<Vec<(i64, u64)>, OperationError> {
        let Stretch { from, to, origin, step } = stretch;
        let body = json!({
            "size": 0,
            "track_total_hits": false,
            "query": self.query.of(&Part { dates: Some((from, to)), ..Part::default() }),
            "aggs": {"dates": {"date_histogram": {
                "field": self.query.date_field(),
                "fixed_interval": format!("{step}ms"),
                "offset": format!("{}ms", origin.rem_euclid(step)),
                "min_doc_count": 1,
            }}},
        });
        let answer = self.search(&body).await?;
        let buckets = answer.aggregations.dates.map(|dates| dates.buckets).unwrap_or_default();
        Ok(buckets.into_iter().map(|bucket| (millis(bucket.key), bucket.doc_count)).collect())
    }

    async fn first(&self, from: i64, to: i64) -> Result<Option<i64>, OperationError> {
        let body = json!({
            "size": 0,
            "track_total_hits": false,
            "query": self.query.of(&Part { dates: Some((from, to)), ..Part::default() }),
            "aggs": {"first": {"min": {"field": self.query.date_field()}}},
        });
        let answer = self.search(&body).await?;
        Ok(answer.aggregations.first.and_then(|first| first.value).map(millis))
    }

    async fn keys(
        &self,
        dates: Option<(i64, i64)>,
        prefix: &str,
        next: &[char],
    ) -> Result<Vec<u64>, OperationError> {
        let field = self.query.id_field();
        let named = |(at, next): (usize, &char)| (at.to_string(), key(field, &format!("{prefix}{next}")));
        let filters: serde_json::Map<_, _> = next.iter().enumerate().map(named).collect();
        let keys = [prefix.to_owned()];
        let keys = if prefix.is_empty() { &[][..] } else { &keys };
        let body = json!({
            "size": 0,
            "track_total_hits": false,
            "query": self.query.of(&Part { dates, keys, except: &[] }),
            "aggs": {"keys": {"filters": {"other_bucket_key": "other", "filters": filters}}},
        });
        let answer = self.search(&body).await?;
        let buckets = answer.aggregations.keys.map(|keys| keys.buckets).unwrap_or_default();
        let count = |name: &str| buckets.get(name).map_or(0, |bucket| bucket.doc_count);
        Ok((0..next.len()).map(|at| count(&at.to_string())).chain([count("other")]).collect())
    }
}
