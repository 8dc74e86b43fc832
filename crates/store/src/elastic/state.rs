//! Slices as records of the original: `<name>__state-*`.

use serde::{Deserialize, Serialize};
use serde_json::json;
use teraslice_core::store::{ErrorQuery, ErrorRecord, Page, SliceCounts, SliceRecord, StoreError};
use teraslice_model::{
    id::{ExId, SliceId},
    slice::{Request, Slice, SliceState},
    timestamp::Timestamp,
};

use std::sync::Arc;

use super::{
    documents::{Document, Query, SCAN_LEN, Scan, WINDOW},
    entry::Line,
    index::{Index, Layout},
    inner::Inner,
    journal::Kept,
    list::readable,
    record,
    settle::Role,
};
use crate::list::Collector;

/// The word of the original for slices that a worker has taken. Here they are pending, and their worker counts as lost.
const STARTED: &str = "start";

/// A record.
#[derive(Serialize, Deserialize)]
struct Record<R, W> {
    slice_id: SliceId,
    slicer_id: u32,
    slicer_order: u64,
    request: R,
    state: W,
    ex_id: ExId,
    #[serde(rename = "_created")]
    created: Timestamp,
    #[serde(rename = "_updated")]
    updated: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    retry_count: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    deaths: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Writes the record of a slice.
pub(super) fn write(body: &mut Vec<u8>, ex_id: ExId, kept: &Kept) {
    let SliceRecord { slice, state, error, retry_count, deaths } = &kept.line.record;
    let record = Record {
        slice_id: slice.id,
        slicer_id: slice.slicer_id,
        slicer_order: slice.slicer_order,
        request: slice.request.json(),
        state: state.as_str(),
        ex_id,
        created: slice.created,
        updated: Some(kept.at),
        error: error.clone(),
        retry_count: *retry_count,
        deaths: *deaths,
    };
    serde_json::to_writer(body, &record).expect("its keys are text");
}

/// Returns the index and the id of a slice's record.
///
/// A slice that was taken over from another execution has its record there under its own id.
pub(super) fn address(layout: &Layout, ex_id: ExId, line: &Line) -> (String, String) {
    let slice = &line.record.slice;
    if let Some(home) = &line.home {
        return (home.to_string(), slice.id.to_string());
    }
    let index = layout.name_of_period(Index::State, &layout.rollover.period(slice.created));
    let id = if slice.is_of(ex_id) { slice.id.to_string() } else { format!("{}-{ex_id}", slice.id) };
    (index, id)
}

fn read(document: &Document) -> Result<ErrorRecord, StoreError> {
    let record: Record<Arc<str>, String> = document.parse()?;
    let state = match record.state.as_str() {
        "completed" => SliceState::Completed,
        "error" => SliceState::Error,
        _ => SliceState::Pending,
    };
    let slice = Slice {
        id: record.slice_id,
        slicer_id: record.slicer_id,
        slicer_order: record.slicer_order,
        request: Request::from_json(record.request),
        created: record.created,
    };
    let begun = u32::from(record.state == STARTED);
    let Record { error, retry_count, deaths, .. } = record;
    Ok(ErrorRecord {
        ex_id: record.ex_id,
        updated: record.updated.unwrap_or(record.created),
        slice: SliceRecord { slice, state, error, retry_count, deaths: deaths.max(begun) },
    })
}

impl Inner {
    /// Returns the unfinished slices of an execution of the original.
    pub(super) async fn unfinished(&self, ex_id: ExId) -> Result<Vec<Line>, StoreError> {
        self.documents.refresh_now(Index::State).await?;
        let states = [SliceState::Pending.as_str(), STARTED];
        let conditions = json!([{"term": {"ex_id": ex_id}}, {"terms": {"state": states}}]);
        let query = Query {
            index: Index::State,
            query: json!({"bool": {"filter": conditions}}),
            sort: json!([{"slice_id": "asc"}]),
            source: json!(true),
        };
        let mut lines = Vec::new();
        let take = |document: Document| {
            let home = Some(document.index.as_str().into());
            let line = |record: ErrorRecord| Line { record: record.slice, home };
            lines.extend(readable(read(&document)).map(line));
            Ok(())
        };
        self.documents.each(&query, SCAN_LEN, take).await?;
        Ok(lines)
    }

    pub(super) async fn slices(
        &self,
        id: ExId,
        state: SliceState,
        page: Page,
    ) -> Result<Vec<SliceRecord>, StoreError> {
        let run = self.current(id).await?;
        if state == SliceState::Pending {
            let from = usize::try_from(page.from).unwrap_or(usize::MAX);
            let size = usize::try_from(page.size).unwrap_or(usize::MAX);
            let journal = run.journal();
            let wanted = journal.pending().skip(from).take(size);
            return Ok(wanted.map(|kept| kept.line.record.clone()).collect());
        }
        self.settle_for_readers(&run).await?;
        let (mut skip, mut found) = (page.from, Vec::new());
        for (slicer_id, count) in self.slicers(id, state).await? {
            let left = page.size - found.len() as u64;
            if left == 0 {
                break;
            }
            let from = skip.min(count);
            skip -= from;
            if from < count {
                let page = Page { from, size: left.min(count - from) };
                let documents = self.documents.part(&of_slicer(id, state, slicer_id), page).await?;
                found.extend(in_order(&documents)?.into_iter().map(|record| record.slice));
            }
        }
        Ok(found)
    }

    pub(super) async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError> {
        let run = self.current(id).await?;
        self.settle_for_readers(&run).await?;
        let query = json!({"term": {"ex_id": id}});
        let counts = self.documents.counts(Index::State, query, "state").await?;
        let of = |state: SliceState| {
            let found = counts.iter().find(|(word, _)| word == state.as_str());
            found.map_or(0, |(_, count)| *count)
        };
        let pending = run.journal().pending().len() as u64;
        Ok(SliceCounts { pending, completed: of(SliceState::Completed), error: of(SliceState::Error) })
    }

    pub(super) async fn errors(&self, query: &ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError> {
        let mut collector = Collector::new(query.filter.as_ref(), query.sort.as_ref(), query.page);
        let executions = match query.ex_id {
            Some(id) => match self.current(id).await {
                Ok(run) => {
                    self.settle_for_readers(&run).await?;
                    vec![id]
                }
                Err(StoreError::NotFound { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
            None => {
                self.settle_everything().await?;
                self.executions_with_errors().await?
            }
        };
        for id in executions {
            for (slicer_id, _) in self.slicers(id, SliceState::Error).await? {
                let query = of_slicer(id, SliceState::Error, slicer_id);
                let mut scan = Scan::new(&query);
                loop {
                    let found = self.documents.next(&mut scan).await?;
                    if found.is_empty() {
                        break;
                    }
                    if !in_order(&found)?.into_iter().all(|error| collector.offer(error)) {
                        return Ok(collector.finish());
                    }
                }
            }
        }
        Ok(collector.finish())
    }

    /// Returns the executions that have given slices up and are not deleted, the newest first.
    async fn executions_with_errors(&self) -> Result<Vec<ExId>, StoreError> {
        let query = json!({"term": {"state": SliceState::Error.as_str()}});
        let ids = self.documents.values(Index::State, query, "ex_id").await?;
        let mut executions = Vec::new();
        for ids in ids.chunks(usize::try_from(WINDOW / 10).unwrap_or(1)) {
            for document in self.documents.get_many(Index::Executions, ids, &[]).await? {
                if let Some((execution, beside)) = readable(record::read_execution(&document))
                    && execution.deleted.is_none()
                {
                    executions.push((beside.number, execution.created, execution.ex_id));
                }
            }
        }
        executions.sort_unstable_by(|one, other| other.cmp(one));
        Ok(executions.into_iter().map(|(_, _, id)| id).collect())
    }

    /// Returns the slicers that have slices in a state, and how many.
    async fn slicers(&self, id: ExId, state: SliceState) -> Result<Vec<(u32, u64)>, StoreError> {
        let counts = self.documents.counts(Index::State, having(id, state), "slicer_id").await?;
        let mut slicers: Vec<_> =
            counts.into_iter().filter_map(|(slicer, count)| Some((slicer.parse().ok()?, count))).collect();
        slicers.sort_unstable();
        Ok(slicers)
    }

    async fn settle_for_readers(&self, run: &super::run::Run) -> Result<(), StoreError> {
        let role = if run.journal().is_of(self.id) { Role::Writer } else { Role::Reader };
        if run.journal().waiting() > 0 {
            self.settle(run, role).await?;
        }
        self.documents.refresh(Index::State).await
    }
}

fn having(id: ExId, state: SliceState) -> serde_json::Value {
    json!({"bool": {"filter": [{"term": {"ex_id": id}}, {"term": {"state": state.as_str()}}]}})
}

/// Asks for slices of a slicer in a state, by their order. Those beyond the mapping's range come last, by their times.
fn of_slicer(id: ExId, state: SliceState, slicer_id: u32) -> Query {
    let mut query = having(id, state);
    if let Some(conditions) = query["bool"]["filter"].as_array_mut() {
        conditions.push(json!({"term": {"slicer_id": slicer_id.to_string()}}));
    }
    let order = json!({"order": "asc", "missing": "_last"});
    let sort = json!([{"slicer_order": order}, {"_created": "asc"}, {"slice_id": "asc"}]);
    Query { index: Index::State, query, sort, source: json!(true) }
}

/// Reads records of one slicer and puts those beyond the mapping's range in order.
fn in_order(documents: &[Document]) -> Result<Vec<ErrorRecord>, StoreError> {
    let mut records: Vec<_> = documents.iter().map(read).collect::<Result<_, _>>()?;
    records.sort_by_key(|record| record.slice.slice.slicer_order);
    Ok(records)
}
