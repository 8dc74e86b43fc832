//! Endpoints: what a method on a path does, and how it is described.

use std::{
    future::Future,
    mem,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    extract::{FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use futures::{FutureExt, future::BoxFuture};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{access::Caller, app::App, body, params::Params, refusal::Refusal};

/// What a handler comes to.
pub(crate) type Answered = Result<Response, Refusal>;

type Handler = Box<dyn Fn(Call) -> BoxFuture<'static, Answered> + Send + Sync>;

/// A method on a path.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) at: At,
    pub(crate) summary: &'static str,
    pub(crate) params: Vec<Param>,
    pub(crate) body: Option<Taken>,
    pub(crate) answers: Vec<Given>,
    handler: Handler,
}

/// Below which prefixes an endpoint is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// With and without `/v1`.
    Both,
    /// Below `/v1` only.
    Versioned,
    /// Without a prefix only.
    Plain,
}

/// A query parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) about: &'static str,
}

/// What a query parameter looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    /// A whole number from 0 to this.
    Whole(u64),
    OneOf(&'static [&'static str]),
    /// Text that a regular expression matches.
    Pattern(&'static str),
}

/// A request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken {
    /// JSON of a named schema, which may be left out.
    Json(&'static str),
    /// JSON of a named schema.
    NeededJson(&'static str),
    /// A bundle.
    Zip,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) status: u16,
    pub(crate) content: Content,
}

/// What is in an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// JSON of a named schema.
    Json(&'static str),
    /// A JSON list of a named schema.
    List(&'static str),
    /// A text table.
    Text,
    /// Metrics.
    Metrics,
    /// Server-sent events.
    Events,
    /// A bundle.
    Zip,
}

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
    /// Only for `Sync`: bodies are not.
    body: Mutex<Body>,
    path: Vec<(String, String)>,
}

/// A change, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) target: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

impl Endpoint {
    fn new<F>(method: Method, path: &'static str, handler: fn(Call) -> F) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self {
            method,
            path,
            at: At::Both,
            summary: "",
            params: Vec::new(),
            body: None,
            answers: Vec::new(),
            handler: Box::new(move |call| handler(call).boxed()),
        }
    }

    pub(crate) fn get<F>(path: &'static str, handler: fn(Call) -> F) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self::new(Method::GET, path, handler)
    }

    pub(crate) fn post<F>(path: &'static str, handler: fn(Call) -> F) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self::new(Method::POST, path, handler)
    }

    pub(crate) fn put<F>(path: &'static str, handler: fn(Call) -> F) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self::new(Method::PUT, path, handler)
    }

    pub(crate) fn delete<F>(path: &'static str, handler: fn(Call) -> F) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self::new(Method::DELETE, path, handler)
    }

    pub(crate) fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    pub(crate) fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub(crate) fn params(mut self, params: &[Param]) -> Self {
        self.params.extend_from_slice(params);
        self
    }

    pub(crate) fn body(mut self, body: Taken) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn gives(mut self, content: Content) -> Self {
        self.answers.push(Given { status: 200, content });
        self
    }

    pub(crate) fn gives_as(mut self, status: u16, content: Content) -> Self {
        self.answers.push(Given { status, content });
        self
    }

    /// Lists the statuses of its refusals, beside those that every endpoint has.
    pub(crate) fn refuses(mut self, statuses: &[u16]) -> Self {
        let refusals =
            statuses.iter().map(|status| Given { status: *status, content: Content::Json("Error") });
        self.answers.extend(refusals);
        self
    }

    /// Returns the paths at which it is found.
    pub(crate) fn paths(&self) -> Vec<String> {
        let versioned = if self.path == "/" { "/v1".to_owned() } else { format!("/v1{}", self.path) };
        match self.at {
            At::Both => vec![self.path.to_owned(), versioned],
            At::Versioned => vec![versioned],
            At::Plain => vec![self.path.to_owned()],
        }
    }

    /// Returns what serves it.
    pub(crate) fn route(self: Arc<Self>, app: Arc<App>) -> MethodRouter {
        let filter =
            MethodFilter::try_from(self.method.clone()).expect("endpoints have methods that axum knows");
        on(filter, move |request: Request| Arc::clone(&self).serve(Arc::clone(&app), request))
    }

    async fn serve(self: Arc<Self>, app: Arc<App>, request: Request) -> Response {
        match self.answer(&app, request).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        }
    }

    async fn answer(&self, app: &Arc<App>, request: Request) -> Answered {
        let (mut parts, body) = request.into_parts();
        let raw = RawPathParams::from_request_parts(&mut parts, &()).await;
        let raw = raw.map_err(|_| Refusal::bad("the path is not UTF-8"))?;
        let path = raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let params = Params::of(&parts.uri);
        for name in params.names() {
            if !self.params.iter().any(|param| param.name == name) {
                app.warn_of(name, self.path);
            }
        }
        let caller = parts.extensions.remove::<Caller>().unwrap_or_default();
        let call = Call {
            app: Arc::clone(app),
            caller,
            params,
            headers: parts.headers,
            body: Mutex::new(body),
            path,
        };
        let answered = (self.handler)(call);
        let silent =
            || Refusal::unavailable(format!("there was no answer within {:?}", app.options.answer_max));
        if self.method == Method::GET {
            return timeout(app.options.answer_max, answered).await.map_err(|_| silent())?;
        }
        // A change is carried to its end even if nobody waits for the answer any more.
        let changing = app.services.context.spawn(answered);
        let changed = timeout(app.options.answer_max, changing).await.map_err(|_| silent())?;
        changed.map_err(|_| Refusal::internal("the request could not be carried out"))?
    }
}

impl Call {
    /// Returns a part of the path, as text.
    pub(crate) fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Returns an id in the path.
    pub(crate) fn id<T: FromStr>(&self, what: &str) -> Result<T, Refusal> {
        let text = self.path("id");
        text.parse().map_err(|_| Refusal::not_found(format!("{what} {text}")))
    }

    /// Takes the body out.
    pub(crate) fn take_body(&mut self) -> Body {
        mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a JSON object.
    pub(crate) async fn object(&mut self) -> Result<Option<Map<String, Value>>, Refusal> {
        let body = self.take_body();
        body::object(&self.headers, body, self.app.options.body_len_max).await
    }

    /// Reads a body of a given shape.
    pub(crate) async fn shaped<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Refusal> {
        let body = self.take_body();
        body::shaped(&self.headers, body, self.app.options.body_len_max).await
    }

    /// Takes down what was changed.
    pub(crate) async fn note(
        &self,
        target: impl ToString,
        before: Value,
        after: Value,
    ) -> Result<(), Refusal> {
        self.app.note(&self.caller, Changed { target: target.to_string(), before, after }).await
    }
}
