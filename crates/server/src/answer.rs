//! Answers in the form that existing clients know: JSON with four spaces, text as HTML.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::refusal::Refusal;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers 200 with JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Response, Refusal> {
    json_as(StatusCode::OK, value)
}

/// Answers with JSON.
pub(crate) fn json_as(status: StatusCode, value: &impl Serialize) -> Result<Response, Refusal> {
    Ok(with_type(status, JSON, pretty(value)?))
}

/// Answers 200 with a text table.
pub(crate) fn text(text: String) -> Response {
    with_type(StatusCode::OK, TEXT, text.into_bytes())
}

/// Answers 200 with metrics.
pub(crate) fn metrics(text: String) -> Response {
    with_type(StatusCode::OK, METRICS, text.into_bytes())
}

fn pretty(value: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    let mut text = Vec::with_capacity(1_024);
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    let written = value.serialize(&mut serializer);
    written.map_err(|error| Refusal::internal(format!("failed to write the answer: {error}")))?;
    Ok(text)
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn indents_by_four_and_keeps_empty_lists_in_one_line() {
        let text = pretty(&json!({"a": [1], "b": [], "c": {}})).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "{\n    \"a\": [\n        1\n    ],\n    \"b\": [],\n    \"c\": {}\n}");
        assert_eq!(pretty(&json!([])).unwrap(), b"[]");
    }
}
