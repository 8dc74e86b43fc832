//! Dead letters, as documents.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use teraslice_core::store::{Claim, KeptLetter, Letters, Page, StoreError};
use teraslice_elastic::{Bulk, BulkItem};
use teraslice_model::{
    dead_letter::DeadLetter,
    id::{ExId, SliceId},
};

use super::{
    documents::{Document, Query, SCAN_LEN},
    index::Index,
    inner::Inner,
    journal::{Letter, Stale},
    settle::Role,
};

/// Letters that one request claims.
const CLAIM_LEN: usize = 1_000;
/// So often a claim is tried where others claim as well.
const TRIES: u32 = 20;

#[derive(Serialize)]
struct Record<'l> {
    ex_id: ExId,
    number: u64,
    #[serde(flatten)]
    letter: &'l DeadLetter,
}

/// What a claim looks at.
#[derive(Deserialize)]
struct Claimed {
    number: u64,
    replayed_in: Option<ExId>,
    /// Names the claim.
    claim: Option<u64>,
}

/// Writes the record of a dead letter.
pub(super) fn write(body: &mut Vec<u8>, ex_id: ExId, kept: &Letter) {
    let record = Record { ex_id, number: kept.number, letter: &kept.letter };
    serde_json::to_writer(body, &record).expect("its keys are text");
}

/// Returns the id of the record of a dead letter.
pub(super) fn id(ex_id: ExId, number: u64) -> String {
    format!("{ex_id}-{number}")
}

impl Inner {
    pub(super) async fn dead_letters(
        &self,
        id: ExId,
        which: Letters,
        page: Page,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        self.settle_letters(id).await?;
        self.documents.refresh(Index::DeadLetters).await?;
        let mut conditions = vec![json!({"term": {"ex_id": id}})];
        match which {
            Letters::All => {}
            Letters::Open => {
                conditions.push(json!({"bool": {"must_not": {"exists": {"field": "replayed_in"}}}}));
            }
            Letters::ReplayedIn(replay) => conditions.push(json!({"term": {"replayed_in": replay}})),
        }
        let found = self.documents.part(&by_number(conditions, json!(true)), page).await?;
        found.iter().map(Document::parse).collect()
    }

    pub(super) async fn claim_dead_letters(&self, id: ExId, claim: &Claim) -> Result<u64, StoreError> {
        self.settle_letters(id).await?;
        let mut claimed = 0;
        for numbers in claim.numbers.chunks(CLAIM_LEN) {
            claimed += self.claim(id, numbers, claim).await?;
        }
        Ok(claimed)
    }

    /// Claims some letters; those that others have changed meanwhile are looked at again.
    async fn claim(&self, id: ExId, numbers: &[u64], claim: &Claim) -> Result<u64, StoreError> {
        let own = self.number();
        let mut left = numbers.to_vec();
        left.sort_unstable();
        left.dedup();
        let mut claimed = 0;
        for _ in 0..TRIES {
            let ids: Vec<_> = left.iter().map(|number| self::id(id, *number)).collect();
            let fields = ["number", "replayed_in", "claim"];
            let found = self.documents.get_many(Index::DeadLetters, &ids, &fields).await?;
            let index = self.documents.layout.name(Index::DeadLetters);
            let change = json!({"doc": {"replayed_in": claim.by, "claim": own}}).to_string();
            let mut bulk = Bulk::default();
            let mut wanted = Vec::new();
            for document in found {
                let now: Claimed = document.parse()?;
                if now.claim == Some(own) {
                    // The answer to an earlier try was lost.
                    claimed += 1;
                } else if now.replayed_in == claim.from {
                    let (seq_no, primary_term) = document.at();
                    let item = BulkItem {
                        index: &index,
                        id: Some(&document.id),
                        if_seq_no: Some(seq_no),
                        if_primary_term: Some(primary_term),
                        ..BulkItem::default()
                    };
                    bulk.push("update", &item, Some(change.as_bytes()));
                    wanted.push(now.number);
                }
            }
            if wanted.is_empty() {
                return Ok(claimed);
            }
            let failed = self.documents.bulk(bulk).await?.failed;
            self.documents.wrote(Index::DeadLetters);
            claimed += (wanted.len() - failed.len()) as u64;
            if failed.is_empty() {
                return Ok(claimed);
            }
            left = failed.iter().map(|failure| wanted[failure.at]).collect();
        }
        Err(StoreError::Unavailable {
            reason: format!("dead letters of execution {id} are claimed by others"),
        })
    }

    async fn settle_letters(&self, id: ExId) -> Result<(), StoreError> {
        let run = self.current(id).await?;
        let role = if run.journal().is_of(self.id) { Role::Writer } else { Role::Reader };
        if run.journal().waiting() > 0 {
            self.settle(&run, role).await?;
        }
        Ok(())
    }

    /// Returns the ids of dead letters that earlier completions of slices have left.
    pub(super) async fn earlier_letters(
        &self,
        id: ExId,
        stale: &[Stale],
    ) -> Result<Vec<(String, Stale)>, StoreError> {
        #[derive(Deserialize)]
        struct Of {
            slice_id: SliceId,
            number: u64,
        }
        if stale.is_empty() {
            return Ok(Vec::new());
        }
        self.documents.refresh_now(Index::DeadLetters).await?;
        let by_slice: HashMap<_, _> = stale.iter().map(|stale| (stale.slice_id, *stale)).collect();
        let slices: Vec<_> = by_slice.keys().collect();
        let conditions = vec![json!({"term": {"ex_id": id}}), json!({"terms": {"slice_id": slices}})];
        let query = by_number(conditions, json!(["slice_id", "number"]));
        let mut earlier = Vec::new();
        let take = |document: Document| {
            let Of { slice_id, number } = document.parse()?;
            let stale = by_slice.get(&slice_id).filter(|stale| number < stale.before);
            earlier.extend(stale.map(|stale| (document.id, *stale)));
            Ok(())
        };
        self.documents.each(&query, SCAN_LEN, take).await?;
        Ok(earlier)
    }
}

/// Asks for dead letters in the order in which they came.
fn by_number(conditions: Vec<Value>, source: Value) -> Query {
    Query {
        index: Index::DeadLetters,
        query: json!({"bool": {"filter": conditions}}),
        sort: json!([{"number": "asc"}]),
        source,
    }
}
