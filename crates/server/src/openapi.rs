//! The OpenAPI document, made from the table of endpoints that also makes the router.

mod schemas;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use teraslice_model::record::VERSION;

use crate::{
    access::needed,
    endpoint::{Content, Endpoint, Given, Kind, Param, Taken},
    routes,
};

/// What the document says first.
const ABOUT: &str = "The HTTP API of a Teraslice master. Every path below /v1 is there without /v1, too, except those of \
    health, tokens, audit, slices, dead_letters, explain, events and bundle. Refusals have the HTTP status in `error` and \
    the text in `message`. As in the original, a job that is wrong and a `from` or `size` that is no number are \
    answered 500. Unknown query parameters are ignored. Tokens are needed where `api_auth` is `tokens`.";

/// Returns the document (OpenAPI 3.1).
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in routes::all() {
        let Some(path) = endpoint.paths().pop() else { continue };
        let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
        item[endpoint.method.as_str().to_ascii_lowercase()] = operation(&endpoint, &path);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Teraslice", "version": VERSION.trim_start_matches('v'), "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "The token as the password."},
            },
        },
    })
}

fn operation(endpoint: &Endpoint, path: &str) -> Value {
    let role = needed(&endpoint.method, path);
    let mut operation = json!({
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "parameters": parameters(endpoint, path),
        "responses": responses(endpoint, role.is_some()),
    });
    if let Some(role) = role {
        operation["description"] =
            format!("Needs the role `{}` where tokens are needed.", json!(role).as_str().unwrap_or_default())
                .into();
        operation["security"] = json!([{}, {"token": []}, {"password": []}]);
    }
    match endpoint.body {
        Some(Taken::Json(name)) => {
            operation["requestBody"] = json!({"content": json_content(&reference(name))})
        }
        Some(Taken::NeededJson(name)) => {
            operation["requestBody"] = json!({"required": true, "content": json_content(&reference(name))});
        }
        Some(Taken::Zip) => {
            operation["requestBody"] = json!({"required": true, "content": {"application/octet-stream": {}}});
        }
        None => {}
    }
    operation
}

fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split('/').map(|part| part.trim_matches(['{', '}', '_']));
    let words = words.filter(|word| !word.is_empty());
    let mut id = endpoint.method.as_str().to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn parameters(endpoint: &Endpoint, path: &str) -> Vec<Value> {
    let is_uuid = endpoint.path.starts_with("/jobs/") || endpoint.path.starts_with("/ex/");
    let is_asset_id = endpoint.path == "/assets/{id}" && endpoint.method == Method::DELETE;
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names.map(|name| {
        let schema = if is_uuid {
            json!({"type": "string", "format": "uuid"})
        } else if is_asset_id {
            json!({"type": "string", "minLength": 40, "maxLength": 40})
        } else {
            json!({"type": "string"})
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = endpoint.params.iter().map(|Param { name, kind, about }| {
        let schema = match kind {
            Kind::Text => json!({"type": "string"}),
            Kind::Whole(max) => json!({"type": "integer", "minimum": 0, "maximum": max}),
            Kind::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
            Kind::OneOf(words) => json!({"type": "string", "enum": words}),
        };
        json!({"name": name, "in": "query", "description": about, "schema": schema})
    });
    in_path.chain(in_query).collect()
}

/// Returns what can be answered: what the endpoint says, and what can happen to every request.
fn responses(endpoint: &Endpoint, needs_token: bool) -> Map<String, Value> {
    let mut answers = endpoint.answers.clone();
    let error = Content::Json("Error");
    let mut others = vec![503];
    if needs_token {
        others.extend([401, 403, 429]);
    }
    if endpoint.path.contains('{') {
        others.push(400);
    }
    for status in others {
        if !answers.iter().any(|given| given.status == status) {
            answers.push(Given { status, content: error });
        }
    }
    answers.sort_by_key(|given| given.status);
    let response = |Given { status, content }: &Given| {
        let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        let content = match content {
            Content::Json(name) => json_content(&reference(name)),
            Content::List(name) => json_content(&json!({"type": "array", "items": reference(name)})),
            Content::Text => json!({"text/html": {"schema": {"type": "string"}}}),
            Content::Metrics => json!({"text/plain": {"schema": {"type": "string"}}}),
            Content::Events => json!({"text/event-stream": {"schema": {"type": "string"}}}),
            Content::Zip => json!({"application/zip": {}}),
        };
        (status.to_string(), json!({"description": reason.unwrap_or_default(), "content": content}))
    };
    answers.iter().map(response).collect()
}

fn json_content(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use super::*;

    #[test]
    fn is_the_one_that_is_committed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let made = format!("{:#}\n", document());
        if env::var_os("UPDATE_OPENAPI").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "docs/openapi.json is not up to date: run this test with UPDATE_OPENAPI=1");
    }

    #[test]
    fn names_only_schemas_that_there_are() {
        let text = document().to_string();
        let schemas = schemas::all();
        let named: BTreeSet<_> = text
            .split("#/components/schemas/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap_or_default())
            .collect();
        let there: BTreeSet<_> = schemas.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, there);
    }

    #[test]
    fn gives_each_operation_a_name_of_its_own_and_words() {
        let mut ids = BTreeSet::new();
        for endpoint in routes::all() {
            assert!(ids.insert(operation_id(&endpoint)), "{} {}", endpoint.method, endpoint.path);
            assert!(!endpoint.summary.is_empty() && !endpoint.answers.is_empty(), "{}", endpoint.path);
        }
    }
}
