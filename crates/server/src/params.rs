//! Query parameters, and what lists have in common.

use std::time::Duration;

use axum::{extract::Query, http::Uri};
use teraslice_core::store::{Page, Sort};
use teraslice_model::filter::Filter;

use crate::refusal::Refusal;

/// The largest number that every JSON reader keeps exactly.
pub(crate) const COUNT_MAX: u64 = (1 << 53) - 1;
/// The length of a list when nobody says.
const SIZE_DEFAULT: u64 = 100;

/// The query parameters of a request; of several with one name the first counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// Which part of a list is wanted, in which order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listing {
    pub(crate) page: Page,
    pub(crate) sort: Option<Sort>,
    pub(crate) filter: Option<Filter>,
}

impl Params {
    pub(crate) fn of(uri: &Uri) -> Self {
        Query::try_from_uri(uri).map(|Query(pairs)| Self(pairs)).unwrap_or_default()
    }

    /// Returns a parameter; an empty one is none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the names that were given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Returns a parameter that is `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::bad(format!("{name} must be true or false, found {other:?}"))),
        }
    }

    /// Returns which of deleted and not deleted records are wanted: never both.
    pub(crate) fn deleted(&self) -> Result<bool, Refusal> {
        Ok(self.flag("deleted")?.unwrap_or(false))
    }

    /// Returns which of active and inactive jobs are wanted; anything but true and false means both.
    pub(crate) fn active(&self) -> Option<bool> {
        self.get("active").and_then(|text| text.parse().ok())
    }

    /// Returns the parts of a list with commas.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.get(name).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Returns a time in milliseconds.
    pub(crate) fn millis(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let millis = text.parse().ok().filter(|millis| *millis <= COUNT_MAX);
        let millis =
            millis.ok_or_else(|| Refusal::bad(format!("{name} must be milliseconds, found {text:?}")))?;
        Ok(Some(Duration::from_millis(millis)))
    }

    /// Returns which part of a list is wanted.
    pub(crate) fn page(&self, size_max: u64) -> Result<Page, Refusal> {
        let whole = |name: &str, default: u64, max: u64| {
            let Some(text) = self.get(name) else { return Ok(default) };
            let number = text.parse().ok().filter(|number| *number <= max);
            number.ok_or_else(|| {
                Refusal::bad(format!("{name} must be a whole number from 0 to {max}, found {text:?}"))
            })
        };
        Ok(Page { from: whole("from", 0, COUNT_MAX)?, size: whole("size", SIZE_DEFAULT, size_max)? })
    }

    /// Returns which part of a list is wanted, on routes that the original has: it answers 500 to what is no number.
    pub(crate) fn page_of_original(&self, size_max: u64) -> Result<Page, Refusal> {
        for name in ["from", "size"] {
            if let Some(text) = self.get(name).filter(|text| text.parse::<i128>().is_err()) {
                return Err(Refusal::internal(format!("{name} must be a whole number, found {text:?}")));
            }
        }
        self.page(size_max)
    }

    /// Returns the wanted order.
    pub(crate) fn sort(&self, default: &str) -> Result<Sort, Refusal> {
        let text = self.get("sort").unwrap_or(default);
        let (field, direction) = text.rsplit_once(':').unwrap_or((text, "asc"));
        let is_descending = match direction {
            "asc" => false,
            "desc" => true,
            _ => {
                return Err(Refusal::bad(format!(
                    "sort must be <field>:asc or <field>:desc, found {text:?}"
                )));
            }
        };
        if field.is_empty() || field.contains([',', ':']) {
            return Err(Refusal::bad(format!("sort takes one field, found {text:?}")));
        }
        Ok(Sort { field: field.to_owned(), is_descending })
    }

    /// Returns everything that lists take.
    pub(crate) fn listing(&self, size_max: u64, sort: &str) -> Result<Listing, Refusal> {
        let filter = self.get("filter").map(Filter::parse).transpose();
        Ok(Listing {
            page: self.page_of_original(size_max)?,
            sort: Some(self.sort(sort)?),
            filter: filter.map_err(|error| Refusal::bad(error.to_string()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn decodes_names_and_values() {
        let params = params("a=x+y%3A1&b=&a=2");
        assert_eq!(params.get("a"), Some("x y:1"));
        assert_eq!(params.get("b"), None);
        assert_eq!(params.names().collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn reads_pages_and_refuses_what_is_no_number() {
        assert_eq!(params("").page(1_000).unwrap(), Page { from: 0, size: 100 });
        assert_eq!(params("from=7&size=3").page(1_000).unwrap(), Page { from: 7, size: 3 });
        for (query, status) in [("size=x", 500), ("from=1.5", 500), ("from=-1", 400), ("size=1001", 400)] {
            assert_eq!(params(query).page(1_000).unwrap_err().status, 400, "{query}");
            assert_eq!(params(query).page_of_original(1_000).unwrap_err().status, status, "{query}");
        }
    }

    #[test]
    fn reads_the_order_of_a_list() {
        let sort = |query: &str| params(query).sort("_updated:desc");
        assert_eq!(sort("").unwrap(), Sort { field: "_updated".to_owned(), is_descending: true });
        assert_eq!(sort("sort=name").unwrap(), Sort { field: "name".to_owned(), is_descending: false });
        for query in ["sort=name:down", "sort=:asc", "sort=a,b:asc", "sort=a:b:asc"] {
            assert_eq!(sort(query).unwrap_err().status, 400, "{query}");
        }
    }

    #[test]
    fn takes_only_true_and_false_for_deleted() {
        assert!(params("deleted=true").deleted().unwrap());
        assert!(!params("deleted=").deleted().unwrap());
        assert_eq!(params("deleted=x").deleted().unwrap_err().status, 400);
    }

    #[test]
    fn splits_lists_at_commas() {
        assert_eq!(params("status=running,%20failed,").list("status"), ["running", "failed"]);
    }
}
