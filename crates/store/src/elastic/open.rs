//! Opens the indices of a cluster name: makes those that are missing, adds fields to those of the original.

use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use teraslice_core::store::StoreError;
use teraslice_elastic::{Client, Product, Request, index_path};

use super::{
    documents::Documents,
    error::explain,
    index::{Index, Layout},
    options::ElasticOptions,
    record::NUMBER,
};

/// The first version of Elasticsearch that has the templates used here.
const OLDEST: (u32, u32) = (7, 8);
/// Settings of a field that may change after it was made.
const CHANGEABLE: [&str; 2] = ["ignore_above", "ignore_malformed"];

/// Opens the indices; returns with them the highest number in use.
pub(super) async fn open(client: Client, options: &ElasticOptions) -> Result<(Documents, u64), StoreError> {
    check_name(&options.name)?;
    let server = client.server().await.map_err(|error| explain(&error))?;
    if server.product == Product::Elasticsearch && server.version < OLDEST {
        let reason = format!("{server} is too old: Elasticsearch 7.8 or newer, or OpenSearch, is needed");
        return Err(StoreError::Broken { reason });
    }
    let documents = Documents::new(client, Layout::new(options));
    try_join_all(Index::ALL.map(|index| documents.put_template(index))).await?;
    let found = documents.mappings().await?;
    let fixed = Index::ALL.into_iter().filter(|index| !index.is_periodic());
    try_join_all(fixed.map(|index| documents.make_missing(index, &found))).await?;
    for (name, mapping) in &found {
        documents.complete(name, mapping).await?;
    }
    let last = documents.highest_number().await?;
    Ok((documents, last))
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let is_right = |it: char| it.is_lowercase() || it.is_numeric() || "-_.".contains(it);
    let starts_well = name.chars().next().is_some_and(|first| !"-_.+".contains(first));
    if starts_well && name.chars().all(is_right) && name.len() <= 200 {
        return Ok(());
    }
    let reason = format!(
        "cluster name {name:?} cannot begin the name of an index: use lowercase letters, digits, - and _"
    );
    Err(StoreError::Broken { reason })
}

impl Documents {
    /// Makes sure that whoever writes to an index first makes it as it should be.
    async fn put_template(&self, index: Index) -> Result<(), StoreError> {
        let (name, body) = self.layout.template(index);
        let request = Request::put(format!("/_index_template{}", index_path(&name))).json(&body);
        match self.client.send(&request).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.status(), Some(401 | 403)) => {
                // Indices are made before they are written to; only one that is deleted meanwhile would suffer.
                tracing::warn!(template = name, %error, "an index template could not be made");
                Ok(())
            }
            Err(error) => Err(explain(&error)),
        }
    }

    /// Returns the mappings of the indices that are there.
    async fn mappings(&self) -> Result<Map<String, Value>, StoreError> {
        let path = format!("{}/_mapping?allow_no_indices=true", index_path(&self.layout.everything()));
        let answer = self.client.find(&Request::get(path)).await.map_err(|error| explain(&error))?;
        answer.map_or(Ok(Map::new()), |answer| answer.json().map_err(|error| explain(&error)))
    }

    async fn make_missing(&self, index: Index, found: &Map<String, Value>) -> Result<(), StoreError> {
        let name = self.layout.name(index);
        if found.contains_key(&name) {
            return Ok(());
        }
        self.make(&name, index).await
    }

    /// Adds what an index of the original, or of an earlier version of this program, has no field for.
    async fn complete(&self, name: &str, found: &Value) -> Result<(), StoreError> {
        let Some(index) = Index::ALL.into_iter().find(|index| self.layout.is_one(*index, name)) else {
            return Ok(());
        };
        let empty = Map::new();
        let found = found.pointer("/mappings/properties").and_then(Value::as_object).unwrap_or(&empty);
        let wanted = self.layout.body(index);
        let wanted = wanted.pointer("/mappings/properties").and_then(Value::as_object).unwrap_or(&empty);
        let added: Map<_, _> = wanted
            .iter()
            .filter_map(|(field, wanted)| Some((field.clone(), change(found.get(field), wanted)?)))
            .collect();
        if added.is_empty() {
            return Ok(());
        }
        let fields: Vec<_> = added.keys().cloned().collect();
        let path = format!("{}/_mapping", index_path(name));
        match self.client.send(&Request::put(path).json(&json!({"properties": added}))).await {
            Ok(_) => tracing::info!(index = name, ?fields, "fields added"),
            Err(error) if error.is_passing() => return Err(explain(&error)),
            Err(error) => {
                tracing::warn!(index = name, ?fields, %error, "fields could not be added: lists of what \
                    the original has made may be in another order");
            }
        }
        Ok(())
    }

    async fn highest_number(&self) -> Result<u64, StoreError> {
        let sort = json!([{NUMBER: {"order": "desc", "missing": "_last", "unmapped_type": "long"}}]);
        let body =
            json!({"size": 1, "sort": sort, "_source": [NUMBER], "query": {"exists": {"field": NUMBER}}});
        let numbered = [Index::Jobs, Index::Executions, Index::Assets, Index::Access];
        let found = try_join_all(numbered.map(async |index| self.search(index, &body).await)).await?;
        let mut highest = 0;
        for document in found.iter().flat_map(|found| &found.hits.hits) {
            let fields: Value = document.parse()?;
            highest = fields[NUMBER].as_u64().unwrap_or_default().max(highest);
        }
        Ok(highest)
    }
}

/// Returns how a field has to be put; absent: it is right, or cannot be changed.
fn change(found: Option<&Value>, wanted: &Value) -> Option<Value> {
    let Some(found) = found else { return Some(wanted.clone()) };
    if found.get("type") != wanted.get("type") {
        return None;
    }
    let differs = CHANGEABLE.iter().any(|key| wanted.get(key).is_some() && found.get(key) != wanted.get(key));
    differs.then(|| {
        let mut changed = found.clone();
        for key in CHANGEABLE {
            if let Some(value) = wanted.get(key) {
                changed[key] = value.clone();
            }
        }
        changed
    })
}
