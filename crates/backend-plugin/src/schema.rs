//! Checks documents against the schemas that backends give.

use serde_json::Value;
use teraslice_model::problem::Problem;

use crate::open_error::OpenError;

/// Problems that are listed of one document.
const PROBLEMS_MAX: usize = 20;

/// A JSON Schema that was understood.
#[derive(Debug)]
pub(crate) struct Schema(jsonschema::Validator);

impl Schema {
    /// Understands a schema; `of` says whose it is.
    pub(crate) fn new(of: &'static str, schema: &Value) -> Result<Self, OpenError> {
        let validator = jsonschema::validator_for(schema);
        validator.map(Self).map_err(|error| OpenError::Schema { of, what: error.to_string() })
    }

    /// Lists what is wrong with a document that stands at `pointer`.
    pub(crate) fn problems(&self, pointer: &str, document: &Value) -> Vec<Problem> {
        let errors = self.0.iter_errors(document).take(PROBLEMS_MAX);
        errors
            .map(|error| Problem::new(format!("{pointer}{}", error.instance_path()), error.to_string()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_the_place_of_every_fault() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["queue"],
            "properties": {"queue": {"type": "string"}, "nodes": {"type": "array", "items": {"type": "integer"}}},
        });
        let schema = Schema::new("configuration", &schema).unwrap();
        assert_eq!(schema.problems("/c", &json!({"queue": "a", "nodes": [1]})), []);
        let problems = schema.problems("/c", &json!({"nodes": [1, "x"], "qeue": 1}));
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|it| it.starts_with("/c/nodes/1: \"x\" is not of type")), "{told:?}");
        assert!(told.iter().any(|it| it.contains("queue") && it.contains("required")), "{told:?}");
        assert!(told.iter().any(|it| it.contains("qeue")), "{told:?}");
    }

    #[test]
    fn refuses_what_is_no_schema() {
        let refused = Schema::new("configuration", &json!({"type": "objekt"})).unwrap_err();
        assert!(refused.to_string().starts_with("the schema that the backend gives for its configuration"));
    }
}
