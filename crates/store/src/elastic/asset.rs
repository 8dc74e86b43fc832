//! Assets, as documents. Their bundles lie elsewhere.

use serde_json::json;
use teraslice_core::store::StoreError;
use teraslice_model::asset::AssetRecord;

use super::{
    documents::{Query, SCAN_LEN},
    index::Index,
    inner::Inner,
    list::readable,
    record::{self, NUMBER},
};
use crate::rules;

impl Inner {
    /// Stores an asset. Of two of one id one gets in, whoever stores them; of two of one name and version only within one
    /// process, as they are looked for before.
    pub(super) async fn create_asset(&self, asset: &AssetRecord) -> Result<(), StoreError> {
        let _alone = self.publishing.lock().await;
        let same = self.assets().await?.into_iter().find(|found| rules::is_same_asset(found, asset));
        if let Some(found) = same {
            return Err(rules::asset_taken(asset, &found.id));
        }
        let number = self.number();
        let body = record::write_asset(asset, number);
        if self.documents.create(Index::Assets, &asset.id, body.into()).await? {
            return Ok(());
        }
        // It may be there because the answer to an earlier try was lost.
        let found = self.documents.get(Index::Assets, &asset.id, NUMBER).await?;
        let found: serde_json::Value = found.map_or(Ok(json!({})), |found| found.parse())?;
        if found[NUMBER] == number { Ok(()) } else { Err(rules::asset_taken(asset, &asset.id)) }
    }

    pub(super) async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError> {
        self.documents.refresh(Index::Assets).await?;
        let number = json!({"order": "desc", "missing": "_last", "unmapped_type": "long"});
        let query = Query {
            index: Index::Assets,
            query: json!({"match_all": {}}),
            sort: json!([{NUMBER: number}, {"_created": "desc"}, {"id": "desc"}]),
            // The original keeps bundles in the documents.
            source: json!({"excludes": ["blob"]}),
        };
        let mut assets = Vec::new();
        let take = |document| {
            assets.extend(readable(record::read_asset(&document)));
            Ok(())
        };
        self.documents.each(&query, SCAN_LEN, take).await?;
        Ok(assets)
    }

    pub(super) async fn delete_asset(&self, id: &str) -> Result<(), StoreError> {
        if self.documents.get(Index::Assets, id, NUMBER).await?.is_none() {
            return Err(rules::no_asset(id));
        }
        self.documents.delete(Index::Assets, id).await
    }
}
