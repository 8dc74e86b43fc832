//! Lists of jobs and executions: a coarse query on the server, the rest by the rules that all stores share.

use serde_json::{Value, json};
use teraslice_core::store::{ExecutionQuery, JobQuery, Page, Sort, StoreError, Sums};
use teraslice_model::execution::{Execution, JobRecord};
use teraslice_model::filter::Filter;

use super::{
    documents::{Document, Query, SCAN_LEN, Scan, WINDOW},
    index::Index,
    inner::Inner,
    record::{self, NUMBER},
};
use crate::{
    list::{Collector, Listed},
    rules,
};

/// Fields by which the server sorts as the rules do: every document has them.
const SORTED: [&str; 2] = ["_created", "_updated"];

impl Inner {
    pub(super) async fn jobs(&self, query: &JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        let conditions = deleted(query.is_deleted).into_iter().chain(active(query.is_active));
        let asked = Asked { filter: query.filter.as_ref(), sort: query.sort.as_ref(), page: query.page };
        let read = |document: &Document| record::read_job(document).map(|(job, _)| job);
        let is_wanted = |job: &JobRecord| rules::is_wanted_job(job, query);
        self.list(Index::Jobs, "job_id", conditions.collect(), asked, read, is_wanted).await
    }

    pub(super) async fn executions(&self, query: &ExecutionQuery) -> Result<Vec<Execution>, StoreError> {
        let mut conditions: Vec<_> = deleted(query.is_deleted).into_iter().collect();
        if let Some(job_id) = query.job_id {
            conditions.push(json!({"term": {"job_id": job_id}}));
        }
        if !query.statuses.is_empty() {
            conditions.push(json!({"terms": {"_status": query.statuses}}));
        }
        let asked = Asked { filter: query.filter.as_ref(), sort: query.sort.as_ref(), page: query.page };
        let read = |document: &Document| record::read_execution(document).map(|(execution, _)| execution);
        let is_wanted = |execution: &Execution| rules::is_wanted_execution(execution, query);
        self.list(Index::Executions, "ex_id", conditions, asked, read, is_wanted).await
    }

    pub(super) async fn sums(&self) -> Result<Sums, StoreError> {
        self.documents.refresh(Index::Executions).await?;
        let source = json!(["_slicer_stats"]);
        let query = Query { source, ..newest_first(Index::Executions, "ex_id", json!({"match_all": {}})) };
        let mut sums = Sums::default();
        let take = |document: Document| {
            let fields: Value = document.parse()?;
            rules::add(&mut sums, rules::part_of_sums(&record::read_stats(&fields["_slicer_stats"])));
            Ok(())
        };
        self.documents.each(&query, SCAN_LEN, take).await?;
        Ok(sums)
    }

    /// Lists documents; those that cannot be read are left out.
    async fn list<T: Listed>(
        &self,
        index: Index,
        id: &str,
        conditions: Vec<Value>,
        asked: Asked<'_>,
        read: impl Fn(&Document) -> Result<T, StoreError>,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Result<Vec<T>, StoreError> {
        let Asked { filter, mut sort, page } = asked;
        if page.size == 0 {
            return Ok(Vec::new());
        }
        self.documents.refresh(index).await?;
        let mut query = newest_first(index, id, json!({"bool": {"filter": conditions}}));
        if let Some(Sort { field, is_descending }) = sort
            && SORTED.contains(&field.as_str())
        {
            let order = if *is_descending { "desc" } else { "asc" };
            let first = json!({field.clone(): {"order": order, "missing": "_last"}});
            let rest = query.sort.as_array().into_iter().flatten().cloned();
            query.sort = std::iter::once(first).chain(rest).collect();
            sort = None;
        }
        let is_exact = filter.is_none() && sort.is_none();
        if is_exact && page.from.saturating_add(page.size) <= WINDOW {
            let found = self.documents.page(&query, page.from, page.size).await?;
            return Ok(found.iter().filter_map(|document| readable(read(document))).collect());
        }
        let mut collector = Collector::new(filter, sort, page);
        let mut scan = Scan::new(&query);
        loop {
            let found = self.documents.next(&mut scan).await?;
            if found.is_empty() {
                return Ok(collector.finish());
            }
            let records = found.iter().filter_map(|document| readable(read(document)));
            for record in records.filter(&is_wanted) {
                if !collector.offer(record) {
                    return Ok(collector.finish());
                }
            }
        }
    }
}

/// What a query asks for beside its coarse conditions.
struct Asked<'q> {
    filter: Option<&'q Filter>,
    sort: Option<&'q Sort>,
    page: Page,
}

/// Returns a query in the order of creation. What the original has made comes after what has a number.
fn newest_first(index: Index, id: &str, query: Value) -> Query {
    let number = json!({"order": "desc", "missing": "_last", "unmapped_type": "long"});
    let sort = json!([{NUMBER: number}, {"_created": "desc"}, {id: "desc"}]);
    Query { index, query, sort, source: json!(true) }
}

fn deleted(is_deleted: Option<bool>) -> Option<Value> {
    let deleted = json!({"term": {"_deleted": true}});
    is_deleted.map(|is| if is { deleted } else { json!({"bool": {"must_not": deleted}}) })
}

fn active(is_active: Option<bool>) -> Option<Value> {
    let inactive = json!([{"term": {"_deleted": true}}, {"term": {"active": false}}]);
    is_active.map(|is| {
        if is {
            json!({"bool": {"must_not": inactive}})
        } else {
            json!({"bool": {"should": inactive, "minimum_should_match": 1}})
        }
    })
}

/// Returns what could be read; the rest is told and left out, so that one foreign document hides no others.
pub(super) fn readable<T>(read: Result<T, StoreError>) -> Option<T> {
    read.inspect_err(|error| tracing::warn!(%error, "a document is left out")).ok()
}
