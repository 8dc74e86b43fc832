//! Request bodies: JSON under every name that clients give it.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// Reads a JSON object; an empty body, or another value, is none.
///
/// `application/x-www-form-urlencoded` counts as JSON, as in the original: it is what curl sends when nobody says.
pub(crate) async fn object(
    headers: &HeaderMap,
    body: Body,
    len_max: usize,
) -> Result<Option<Map<String, Value>>, Refusal> {
    match read(headers, body, len_max).await? {
        Some(Value::Object(object)) => Ok(Some(object)),
        _ => Ok(None),
    }
}

/// Reads a body of a given shape; an empty body is none.
pub(crate) async fn shaped<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    len_max: usize,
) -> Result<Option<T>, Refusal> {
    let Some(value) = read(headers, body, len_max).await? else { return Ok(None) };
    let shaped = serde_json::from_value(value);
    shaped.map(Some).map_err(|error| Refusal::bad(format!("the body is not as it should be: {error}")))
}

/// Tells whether a body is declared to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = kind(headers);
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

async fn read(headers: &HeaderMap, body: Body, len_max: usize) -> Result<Option<Value>, Refusal> {
    let bytes = to_bytes(body, len_max).await.map_err(|error| unreadable(&error, len_max))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let kind = kind(headers);
    if !is_json(headers) && !kind.is_empty() && kind != "application/x-www-form-urlencoded" {
        let message = format!("the body must be application/json, found {kind}");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|error| Refusal::bad(format!("the json in the body is malformed: {error}")))
}

fn unreadable(error: &axum::Error, len_max: usize) -> Refusal {
    // The limit's error is the cause of the body's error.
    let is_too_long =
        std::error::Error::source(error).is_some_and(|cause| cause.to_string().contains("limit"));
    if is_too_long {
        let message = format!("the body is longer than {len_max} bytes");
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message);
    }
    Refusal::bad("the body did not arrive whole")
}

/// Returns the content type in lower case, without parameters.
fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(kind: Option<&str>, body: &str) -> Result<bool, u16> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        let read = object(&headers, Body::from(body.to_owned()), 32).await;
        read.map(|object| object.is_some()).map_err(|refusal| refusal.status.as_u16())
    }

    #[tokio::test]
    async fn reads_json_under_every_name() {
        for kind in [
            None,
            Some("application/json"),
            Some("application/json; charset=utf-8"),
            Some("Application/JSON;charset=UTF-8"),
            Some("application/vnd.api+json"),
            Some("application/x-www-form-urlencoded"),
        ] {
            assert_eq!(status(kind, "{\"a\": 1}").await, Ok(true), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn refuses_what_is_no_json() {
        assert_eq!(status(None, "{\"a\": ").await, Err(400));
        assert_eq!(status(Some("text/plain"), "{}").await, Err(415));
        assert_eq!(status(None, &format!("[{}]", "1,".repeat(40))).await, Err(413));
    }

    #[tokio::test]
    async fn takes_an_empty_body_or_another_value_for_none() {
        assert_eq!(status(Some("text/plain"), "").await, Ok(false));
        assert_eq!(status(None, "[1]").await, Ok(false));
    }
}
