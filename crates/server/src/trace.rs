//! Spans of requests, for traces.

use axum::{
    extract::{MatchedPath, Request},
    http::StatusCode,
};
use teraslice_core::trace::TARGET;
use tracing::{Span, field::Empty};

/// Begins the span of a request; it ends when it is dropped.
pub(crate) fn begin(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let (method, uri) = (request.method(), request.uri());
    let span = tracing::trace_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        http.request.method = method.as_str(),
        http.route = route,
        url.path = uri.path(),
        http.response.status_code = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        // Names are few: paths that are not known would be many.
        span.record(
            "otel.name",
            route.map_or_else(|| method.to_string(), |route| format!("{method} {route}")),
        );
    }
    span
}

/// Notes down what was answered.
pub(crate) fn note(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
