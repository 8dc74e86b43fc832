//! Warnings about a job: it runs, but something in it is not what it seems.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::problem::Problem;

/// Something a user should look at, although the job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Warning {
    /// A property that is going away; clients get these with their answers.
    Deprecation(Deprecation),
    /// Anything else, such as a property that is not known.
    Problem(Problem),
}

/// A property that is going away.
///
/// Serialized as clients know it:
/// `{"type": "JobValidation", "reason": {"type": .., "kind": "deprecation", "reason": {..}}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Whose property it is.
    pub subject: Subject,
    /// The property.
    pub field: String,
    /// What to do instead.
    pub description: String,
}

/// Whose property is going away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The job's.
    Job,
    /// An operation's, by `_op`.
    Operation(String),
    /// An API's, by `_name`.
    Api(String),
}

impl Warning {
    /// Returns where the warning belongs, as a JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> &str {
        match self {
            Self::Deprecation(deprecation) => &deprecation.pointer,
            Self::Problem(problem) => &problem.pointer,
        }
    }
}

impl From<Problem> for Warning {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deprecation(Deprecation { pointer, field, description, .. }) => {
                write!(f, "{pointer}: {field:?} is deprecated ({description})")
            }
            Self::Problem(problem) => problem.fmt(f),
        }
    }
}

impl Serialize for Deprecation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outer = serializer.serialize_map(Some(2))?;
        outer.serialize_entry("type", "JobValidation")?;
        outer.serialize_entry("reason", &Reason(self))?;
        outer.end()
    }
}

/// The middle layer of a deprecation.
struct Reason<'a>(&'a Deprecation);

impl Serialize for Reason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut inner = serde_json::Map::new();
        let kind = match &self.0.subject {
            Subject::Job => "jobProperty",
            Subject::Operation(op) => {
                inner.insert("_op".to_owned(), op.as_str().into());
                "assetOperation"
            }
            Subject::Api(name) => {
                inner.insert("api_name".to_owned(), name.as_str().into());
                "assetAPIProperty"
            }
        };
        inner.insert("field".to_owned(), self.0.field.as_str().into());
        inner.insert("description".to_owned(), self.0.description.as_str().into());
        let mut middle = serializer.serialize_map(Some(3))?;
        middle.serialize_entry("type", kind)?;
        middle.serialize_entry("kind", "deprecation")?;
        middle.serialize_entry("reason", &inner)?;
        middle.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(subject: Subject) -> String {
        let warning = Warning::Deprecation(Deprecation {
            pointer: "/cpu".to_owned(),
            subject,
            field: "cpu".to_owned(),
            description: "use x".to_owned(),
        });
        serde_json::to_string(&warning).unwrap()
    }

    #[test]
    fn writes_the_shapes_that_clients_know() {
        assert_eq!(
            shape(Subject::Job),
            r#"{"type":"JobValidation","reason":{"type":"jobProperty","kind":"deprecation","reason":{"field":"cpu","description":"use x"}}}"#
        );
        assert_eq!(
            shape(Subject::Operation("filter".to_owned())),
            r#"{"type":"JobValidation","reason":{"type":"assetOperation","kind":"deprecation","reason":{"_op":"filter","field":"cpu","description":"use x"}}}"#
        );
        assert_eq!(
            shape(Subject::Api("sender".to_owned())),
            r#"{"type":"JobValidation","reason":{"type":"assetAPIProperty","kind":"deprecation","reason":{"api_name":"sender","field":"cpu","description":"use x"}}}"#
        );
    }
}
