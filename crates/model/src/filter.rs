//! Filters over records, in the query language of Lucene as the original's API takes it.

mod condition;
mod parser;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use condition::Condition;

/// Fields that are searched by word, regardless of case; all others are compared as they are.
const TEXT_FIELDS: [&str; 2] = ["name", "_failureReason"];

/// A filter that was understood. It is stored, sent and printed as the text that it was read from.
///
/// ```text
/// _status:running                  a value             name:"daily load"           words in a row
/// _status:(failed OR stopped)      a group             name:dai*y _status:fail?d   * any number, ? one character
/// workers:[2 TO 5}  workers:>=2    a range             _created:[2024 TO 2024-03]  dates, rounded as they are precise
/// _exists_:slicer_port             any value           operations._op:noop         a path; in lists any element counts
/// a AND b, a && b, +a +b           both                NOT a, !a, -a               not
/// a OR b, a || b, a b              either              \:                          the character itself
/// ```
///
/// `AND`, `OR` and `NOT` bind as in Lucene: `AND` makes both of its neighbours required, `NOT` forbids what follows, and
/// what is neither required nor forbidden counts only where nothing is required. Brackets make it plain.
///
/// A word without a field is looked for in all fields. Weights (`^2`) are ignored; fuzzy words, regular expressions and
/// times relative to now are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    text: String,
    root: Vec<Clause>,
}

/// Text that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at character {at}: {reason}")]
pub struct FilterError {
    /// Where, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

/// A part of a group.
#[derive(Clone, Debug, PartialEq)]
struct Clause {
    occurs: Occurs,
    node: Node,
}

/// What a clause means to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occurs {
    Must,
    Should,
    MustNot,
}

/// What a clause asks.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Group(Vec<Clause>),
    /// Something that every record has.
    All,
    /// Some value at a path; without one, of any field.
    Value {
        path: Option<String>,
        condition: Box<Condition>,
    },
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// When the text is no filter, or is longer or deeper than any that is meant well.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parser::parse(text).map(|root| Self { text: text.to_owned(), root })
    }

    /// Tells whether a record passes.
    #[must_use]
    pub fn matches(&self, document: &Map<String, Value>) -> bool {
        passes(&self.root, document)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        parser::parse(&text).map(|root| Self { text, root })
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.text
    }
}

/// Calls `visit` for each value at a dotted path, until one call returns true; lists are gone through, never visited
/// themselves. Returns whether one did.
pub fn any_at(document: &Map<String, Value>, path: &str, visit: &mut dyn FnMut(&Value) -> bool) -> bool {
    if let Some(value) = document.get(path) {
        return any_of(value, None, visit);
    }
    path.split_once('.').is_some_and(|(first, rest)| {
        document.get(first).is_some_and(|value| any_of(value, Some(rest), visit))
    })
}

fn any_of(value: &Value, path: Option<&str>, visit: &mut dyn FnMut(&Value) -> bool) -> bool {
    match (value, path) {
        (Value::Array(values), _) => values.iter().any(|value| any_of(value, path, visit)),
        (Value::Object(map), Some(path)) => any_at(map, path, visit),
        (_, Some(_)) => false,
        (value, None) => visit(value),
    }
}

/// Calls `visit` for each plain value inside a value, until one call returns true.
fn any_inside(value: &Value, visit: &mut dyn FnMut(&Value) -> bool) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| any_inside(value, visit)),
        Value::Object(map) => map.values().any(|value| any_inside(value, visit)),
        value => visit(value),
    }
}

fn passes(group: &[Clause], document: &Map<String, Value>) -> bool {
    let mut has_must = false;
    let mut has_should = false;
    let mut is_any_met = false;
    for clause in group {
        match clause.occurs {
            Occurs::Must if !clause.node.passes(document) => return false,
            Occurs::MustNot if clause.node.passes(document) => return false,
            Occurs::Must => has_must = true,
            Occurs::MustNot => {}
            Occurs::Should => {
                has_should = true;
                is_any_met = is_any_met || clause.node.passes(document);
            }
        }
    }
    has_must || is_any_met || !has_should
}

impl Node {
    fn passes(&self, document: &Map<String, Value>) -> bool {
        match self {
            Self::Group(group) => passes(group, document),
            Self::All => true,
            Self::Value { path: Some(path), condition } => {
                let is_text = TEXT_FIELDS.contains(&path.as_str());
                any_at(document, path, &mut |value| condition.holds(value, is_text))
            }
            Self::Value { path: None, condition } => document.iter().any(|(field, value)| {
                let is_text = TEXT_FIELDS.contains(&field.as_str());
                any_inside(value, &mut |value| condition.holds(value, is_text))
            }),
        }
    }
}

#[cfg(test)]
mod tests;
