//! Tokens and the audit log, as documents of one index.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use teraslice_core::store::{Page, StoreError};
use teraslice_model::access::{AuditEntry, TokenRecord};

use super::{documents::Query, index::Index, inner::Inner, record::NUMBER};
use crate::rules;

const TOKEN: &str = "token";
const AUDIT: &str = "audit";

/// A document of the index.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    kind: String,
    #[serde(rename = "_number")]
    number: u64,
    record: T,
}

impl Inner {
    pub(super) async fn create_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let (id, number) = (token_id(&token.name), self.number());
        if self.keep(&id, TOKEN, number, token).await? {
            return Ok(());
        }
        // It may be there because the answer to an earlier try was lost.
        let found = self.documents.get(Index::Access, &id, NUMBER).await?;
        let found: serde_json::Value = found.map_or(Ok(json!({})), |found| found.parse())?;
        if found[NUMBER] == number { Ok(()) } else { Err(rules::token_taken(&token.name)) }
    }

    pub(super) async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let mut tokens: Vec<TokenRecord> = self.kept(TOKEN, Page { from: 0, size: u64::MAX }).await?;
        tokens.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(tokens)
    }

    pub(super) async fn delete_token(&self, name: &str) -> Result<(), StoreError> {
        let id = token_id(name);
        if self.documents.get(Index::Access, &id, NUMBER).await?.is_none() {
            return Err(rules::no_token(name));
        }
        self.documents.delete(Index::Access, &id).await
    }

    pub(super) async fn note(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let number = self.number();
        // Refused as taken: the answer to an earlier try was lost; no other entry has the id.
        let _made_now_or_before =
            self.keep(&format!("{AUDIT}-{number}-{}", self.id), AUDIT, number, entry).await?;
        Ok(())
    }

    pub(super) async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError> {
        self.kept(AUDIT, page).await
    }

    async fn keep(
        &self,
        id: &str,
        kind: &str,
        number: u64,
        record: &impl Serialize,
    ) -> Result<bool, StoreError> {
        let kept = Kept { kind: kind.to_owned(), number, record };
        let body = serde_json::to_vec(&kept).expect("its keys are text");
        self.documents.create(Index::Access, id, body.into()).await
    }

    /// Lists documents of a kind, the newest first.
    async fn kept<T: DeserializeOwned>(&self, kind: &str, page: Page) -> Result<Vec<T>, StoreError> {
        self.documents.refresh(Index::Access).await?;
        let query = Query {
            index: Index::Access,
            query: json!({"term": {"kind": kind}}),
            sort: json!([{NUMBER: "desc"}]),
            source: json!(true),
        };
        let kept = self.documents.part(&query, page).await?;
        kept.iter().map(|document| document.parse::<Kept<T>>().map(|kept| kept.record)).collect()
    }
}

fn token_id(name: &str) -> String {
    format!("{TOKEN}-{name}")
}
