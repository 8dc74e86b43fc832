//! Checks documents against the schemas that backends give.

use boon::{Compiler, SchemaIndex, Schemas, ValidationError};
use serde_json::Value;
use teraslice_model::problem::Problem;

use crate::open_error::OpenError;

/// Problems that are listed of one document.
const PROBLEMS_MAX: usize = 20;
/// What a schema is called; nothing is fetched from there.
const NAME: &str = "mem:///schema.json";

/// A JSON Schema that was understood.
pub(crate) struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    /// Understands a schema; `of` says whose it is.
    pub(crate) fn new(of: &'static str, schema: &Value) -> Result<Self, OpenError> {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        let refused = |error: boon::CompileError| OpenError::Schema { of, what: error.to_string() };
        compiler.add_resource(NAME, schema.clone()).map_err(refused)?;
        let index = compiler.compile(NAME, &mut schemas).map_err(refused)?;
        Ok(Self { schemas, index })
    }

    /// Lists what is wrong with a document that stands at `pointer`.
    pub(crate) fn problems(&self, pointer: &str, document: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.schemas.validate(document, self.index) {
            collect(&error, pointer, &mut problems);
        }
        problems
    }
}

/// Takes down the causes that have no causes themselves.
fn collect(error: &ValidationError<'_, '_>, pointer: &str, problems: &mut Vec<Problem>) {
    if !error.causes.is_empty() {
        error.causes.iter().for_each(|cause| collect(cause, pointer, problems));
    } else if problems.len() < PROBLEMS_MAX {
        let place = format!("{pointer}{}", error.instance_location);
        problems.push(Problem::new(place, error.kind.to_string()));
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
        assert!(told.iter().any(|it| it.starts_with("/c/nodes/1: want integer")), "{told:?}");
        assert!(told.iter().any(|it| it.contains("queue") && it.contains("missing")), "{told:?}");
        assert!(told.iter().any(|it| it.contains("qeue")), "{told:?}");
    }

    #[test]
    fn refuses_what_is_no_schema() {
        let refused = Schema::new("configuration", &json!({"type": "objekt"})).err().unwrap();
        assert!(refused.to_string().starts_with("the schema that the backend gives for its configuration"));
    }
}
