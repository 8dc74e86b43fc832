//! Lists as queries ask for them: what passes, in which order, which part.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use teraslice_core::store::{ErrorRecord, Page, Sort};
use teraslice_model::{
    execution::{Execution, JobRecord},
    filter::{self, Filter},
};

/// Found records beyond those wanted that are kept before they are sorted out.
const SLACK: usize = 1024;

/// What can be filtered and sorted.
pub(crate) trait Listed {
    /// Returns the record in the names that filters and sort orders use.
    fn document(&self) -> Map<String, Value>;
}

impl Listed for JobRecord {
    fn document(&self) -> Map<String, Value> {
        Self::document(self)
    }
}

impl Listed for Execution {
    fn document(&self) -> Map<String, Value> {
        Self::document(self)
    }
}

impl Listed for ErrorRecord {
    fn document(&self) -> Map<String, Value> {
        Self::document(self)
    }
}

impl<T: Listed> Listed for &T {
    fn document(&self) -> Map<String, Value> {
        T::document(self)
    }
}

/// Collects the part of a list that a query asks for, from records that come in the list's own order. Holds no more than
/// twice what the page needs.
pub(crate) struct Collector<'q, T> {
    filter: Option<&'q Filter>,
    sort: Option<&'q Sort>,
    /// How many records to leave out at the start.
    from: usize,
    /// How many records are wanted, those left out included.
    end: usize,
    /// Records that were left out at once, as no sort order brings them back.
    skipped: usize,
    found: Vec<(Option<Key>, T)>,
}

/// A value to sort by.
enum Key {
    Flag(bool),
    Number(f64),
    Text(String),
}

impl<'q, T: Listed> Collector<'q, T> {
    pub(crate) fn new(filter: Option<&'q Filter>, sort: Option<&'q Sort>, page: Page) -> Self {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let (from, end) = (number(page.from), number(page.from.saturating_add(page.size)));
        Self { filter, sort, from, end, skipped: 0, found: Vec::new() }
    }

    /// Takes a record. Returns whether more of them can matter.
    pub(crate) fn offer(&mut self, record: T) -> bool {
        if self.end == self.from {
            return false;
        }
        let needs_document = self.filter.is_some() || self.sort.is_some();
        let document = if needs_document { record.document() } else { Map::new() };
        if self.filter.is_some_and(|filter| !filter.matches(&document)) {
            return true;
        }
        let Some(sort) = self.sort else { return self.take(record) };
        self.found.push((key(&document, sort), record));
        if self.found.len() >= self.end.saturating_mul(2).max(SLACK) {
            self.sort_out(sort);
        }
        true
    }

    /// Returns the part that was asked for.
    pub(crate) fn finish(mut self) -> Vec<T> {
        if let Some(sort) = self.sort {
            self.sort_out(sort);
        }
        let from = self.from.saturating_sub(self.skipped);
        self.found.into_iter().skip(from).map(|(_, record)| record).collect()
    }

    /// Takes a record of a list that is in order already.
    fn take(&mut self, record: T) -> bool {
        if self.skipped < self.from {
            self.skipped += 1;
            return true;
        }
        self.found.push((None, record));
        self.skipped + self.found.len() < self.end
    }

    fn sort_out(&mut self, sort: &Sort) {
        self.found.sort_by(|(one, _), (other, _)| compare(one.as_ref(), other.as_ref(), sort.is_descending));
        self.found.truncate(self.end);
    }
}

/// Returns what a record is sorted by: of several values the one that comes first.
fn key(document: &Map<String, Value>, sort: &Sort) -> Option<Key> {
    let mut first: Option<Key> = None;
    filter::any_at(document, &sort.field, &mut |value| {
        let key = match value {
            Value::Bool(flag) => Key::Flag(*flag),
            Value::Number(number) => Key::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Key::Text(text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => return false,
        };
        if first.is_none() || compare(Some(&key), first.as_ref(), sort.is_descending).is_lt() {
            first = Some(key);
        }
        false
    });
    first
}

fn compare(one: Option<&Key>, other: Option<&Key>, is_descending: bool) -> Ordering {
    let (one, other) = match (one, other) {
        (None, None) => return Ordering::Equal,
        (None, Some(_)) => return Ordering::Greater,
        (Some(_), None) => return Ordering::Less,
        (Some(one), Some(other)) => (one, other),
    };
    let ordering = match (one, other) {
        (Key::Flag(one), Key::Flag(other)) => one.cmp(other),
        (Key::Number(one), Key::Number(other)) => one.total_cmp(other),
        (Key::Text(one), Key::Text(other)) => one.cmp(other),
        (one, other) => one.kind().cmp(&other.kind()),
    };
    if is_descending { ordering.reverse() } else { ordering }
}

impl Key {
    const fn kind(&self) -> u8 {
        match self {
            Self::Flag(_) => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        }
    }
}
