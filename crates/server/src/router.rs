//! The router: every endpoint at its paths, and what everything else is answered.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, Uri, uri::PathAndQuery},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::ServiceExt;
use tracing::Span;

use crate::{
    access::Card, answer, app::App, options::ServerOptions, refusal::Refusal, routes, services::Services,
    trace,
};

/// Returns the whole API.
///
/// The address of a caller is taken from the request's `ConnectInfo<SocketAddr>`, where the server puts one in.
pub fn router(options: ServerOptions, services: Services) -> Router {
    let app = Arc::new(App::new(options, services));
    let mut inner = Router::new();
    for endpoint in routes::all().into_iter().map(Arc::new) {
        for path in endpoint.paths() {
            inner = inner.route(&path, Arc::clone(&endpoint).route(Arc::clone(&app)));
        }
    }
    let inner = inner
        .fallback(no_endpoint)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(app, gate));
    Router::new().fallback_service(inner.map_request(without_slash))
}

/// Returns the metrics alone, for a port of their own, where nobody shows who he is.
pub fn metrics_router(options: ServerOptions, services: Services) -> Router {
    let app = Arc::new(App::new(options, services));
    Router::new().route(
        "/metrics",
        get(async move || match app.metrics().await {
            Ok(text) => answer::metrics(text),
            Err(refusal) => refusal.into_response(),
        }),
    )
}

/// Lets only those in who may.
async fn gate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_health = path == "/metrics" || path.starts_with("/v1/health/");
    if !is_health && !app.services.readiness.is_ready() {
        return Refusal::unavailable("api is not available").into_response();
    }
    // Who looks after its health asks too often to be of interest.
    let span = if is_health { Span::none() } else { trace::begin(&request) };
    let card = Card::of(&request);
    let response = match app.guard.admit(&app.services, card).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    trace::note(&span, response.status());
    response
}

async fn no_endpoint(method: Method, uri: Uri) -> Refusal {
    let url = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("cannot {method} endpoint {url}"))
}

/// Answers a method that a path does not have; axum adds the methods that it has.
async fn other_method(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    no_endpoint(method, uri).await.into_response()
}

/// Takes a slash at the end of a path for none, as the original does.
fn without_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let trimmed = uri.path().trim_end_matches('/');
    if trimmed.len() == uri.path().len() || trimmed.is_empty() {
        return request;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(path) = format!("{trimmed}{query}").parse::<PathAndQuery>() {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}
