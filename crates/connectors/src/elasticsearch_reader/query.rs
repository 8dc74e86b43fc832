//! What the server is asked for.

use serde_json::{Value, json};
use teraslice_model::timestamp::Timestamp;

use super::settings::IndexReaderConfig;

/// Builds queries from a reader's settings.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    date_field: Option<String>,
    id_field: Option<String>,
    /// What every record has to match.
    filters: Vec<Value>,
    /// The fields to read; absent: all.
    source: Option<Value>,
    sort: Option<Value>,
}

/// Some of the records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part<'a> {
    /// Dates from the first up to, not including, the second, in milliseconds.
    pub(crate) dates: Option<(i64, i64)>,
    /// Ids that begin so; see [`key`]. Empty: any.
    pub(crate) keys: &'a [String],
    /// Ids that do not begin so.
    pub(crate) except: &'a [String],
}

impl Query {
    pub(crate) fn new(config: &IndexReaderConfig) -> Self {
        let text = config.query.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = text.map(|text| json!({"query_string": {"query": text}}));
        Self {
            date_field: config.date_field_name.clone().filter(|name| !name.is_empty()),
            id_field: config.id_field_name.clone().filter(|name| !name.is_empty()),
            filters: text.into_iter().chain(config.geo.query()).collect(),
            source: config.fields.as_ref().filter(|fields| !fields.is_empty()).map(|fields| json!(fields)),
            sort: config.geo.sort(),
        }
    }

    pub(crate) fn date_field(&self) -> &str {
        self.date_field.as_deref().unwrap_or_default()
    }

    pub(crate) fn id_field(&self) -> &str {
        self.id_field.as_deref().unwrap_or_default()
    }

    /// Returns the fields to read, if not all.
    pub(crate) const fn source(&self) -> Option<&Value> {
        self.source.as_ref()
    }

    /// Returns the order that the job wants, if any.
    pub(crate) const fn sort(&self) -> Option<&Value> {
        self.sort.as_ref()
    }

    /// Returns the query for some of the records.
    pub(crate) fn of(&self, part: &Part<'_>) -> Value {
        let mut filter = self.filters.clone();
        if let (Some(field), Some((start, end))) = (&self.date_field, part.dates) {
            let text = |millis| Timestamp::from_millis(millis).to_string();
            let range = json!({"gte": text(start), "lt": text(end), "format": "strict_date_optional_time"});
            filter.push(json!({"range": {field: range}}));
        }
        let mut without = Vec::new();
        if let Some(field) = &self.id_field {
            let any: Vec<_> = part.keys.iter().map(|prefix| key(field, prefix)).collect();
            match <[Value; 1]>::try_from(any) {
                Ok([one]) => filter.push(one),
                Err(none) if none.is_empty() => {}
                Err(any) => filter.push(json!({"bool": {"should": any, "minimum_should_match": 1}})),
            }
            without.extend(part.except.iter().map(|prefix| key(field, prefix)));
        }
        match without.as_slice() {
            [] => json!({"bool": {"filter": filter}}),
            _ => json!({"bool": {"filter": filter, "must_not": without}}),
        }
    }
}

/// Returns the query for ids that begin with a key: a prefix, or a prefix and some characters, as in `a[0-3]`.
pub(crate) fn key(field: &str, prefix: &str) -> Value {
    if prefix.contains('[') {
        // What comes before the class is of an alphabet in which + alone means something to the server.
        let escaped = prefix.replace('+', "\\+");
        return json!({"regexp": {field: {"value": format!("{escaped}.*")}}});
    }
    json!({"prefix": {field: {"value": prefix}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(settings: Value) -> Query {
        Query::new(&serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn asks_for_dates_within_the_jobs_query() {
        let query = query(json!({"index": "a", "date_field_name": "when", "query": "x:1", "fields": ["x"]}));
        let part = Part { dates: Some((0, 1_500)), ..Part::default() };
        assert_eq!(
            query.of(&part),
            json!({"bool": {"filter": [
                {"query_string": {"query": "x:1"}},
                {"range": {"when": {
                    "gte": "1970-01-01T00:00:00.000Z",
                    "lt": "1970-01-01T00:00:01.500Z",
                    "format": "strict_date_optional_time"
                }}}
            ]}})
        );
        assert_eq!(query.source(), Some(&json!(["x"])));
    }

    #[test]
    fn asks_for_keys() {
        let query = query(json!({"index": "a", "field": "id"}));
        let (keys, except) = (["a1".to_owned(), "b[0-3]".to_owned()], ["a1x".to_owned()]);
        let part = Part { keys: &keys, except: &except, ..Part::default() };
        assert_eq!(
            query.of(&part),
            json!({"bool": {
                "filter": [{"bool": {"should": [
                    {"prefix": {"id": {"value": "a1"}}},
                    {"regexp": {"id": {"value": "b[0-3].*"}}}
                ], "minimum_should_match": 1}}],
                "must_not": [{"prefix": {"id": {"value": "a1x"}}}]
            }})
        );
        assert_eq!(
            query.of(&Part { keys: &keys[..1], ..Part::default() }),
            json!({"bool": {"filter": [
                {"prefix": {"id": {"value": "a1"}}}
            ]}})
        );
    }
}
