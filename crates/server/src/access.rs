//! Who may do what: tokens, roles, and a brake on guessing.

mod limiter;
mod word;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderValue, Method, StatusCode, header},
};
use teraslice_core::store::StoreError;
use teraslice_model::access::{AccessRole, TokenRecord};

pub use word::{NewWord, draw, hash};

use crate::{options::ApiAuth, refusal::Refusal, services::Services};
use limiter::Limiter;

/// Who is said to have changed something when nobody has to say who they are.
const ANONYMOUS: &str = "anonymous";

/// Who has sent a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The name of the token, or `anonymous`.
    pub(crate) who: String,
    /// The address.
    pub(crate) address: String,
    /// Method and path.
    pub(crate) action: String,
}

/// What a request says of its sender.
#[derive(Debug)]
pub(crate) struct Card {
    /// The role that the request needs; absent: everybody may.
    needed: Option<AccessRole>,
    /// The word that it shows.
    word: Option<String>,
    /// Where it comes from.
    address: Option<IpAddr>,
    /// Method and path.
    action: String,
}

impl Card {
    pub(crate) fn of(request: &Request) -> Self {
        let (method, path) = (request.method(), request.uri().path());
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        Self {
            needed: needed(method, path),
            word: header.and_then(word::of_header),
            address: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
            action: format!("{method} {path}"),
        }
    }
}

/// Lets callers in, or not.
#[derive(Debug)]
pub(crate) struct Guard {
    auth: ApiAuth,
    limiter: Mutex<Limiter>,
    /// The tokens of the store, read once and after each change.
    tokens: Mutex<Option<Arc<Vec<TokenRecord>>>>,
}

impl Guard {
    pub(crate) fn new(auth: ApiAuth) -> Self {
        Self { auth, limiter: Mutex::default(), tokens: Mutex::default() }
    }

    /// Makes the next request read the tokens anew.
    pub(crate) fn forget_tokens(&self) {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tells who has sent a request, if they may.
    pub(crate) async fn admit(&self, services: &Services, card: Card) -> Result<Caller, Refusal> {
        let Card { needed, word, address, action } = card;
        let shown = address.map(|address| address.to_string()).unwrap_or_default();
        let caller = Caller { who: ANONYMOUS.to_owned(), address: shown, action };
        let Some(needed) = needed else { return Ok(caller) };
        if self.auth == ApiAuth::None {
            return Ok(caller);
        }
        let now = services.context.now();
        let key = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let wait = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).wait(key, now);
        if let Some(wait) = wait {
            let message = "too many requests with a wrong token came from this address";
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
                .with_header(header::RETRY_AFTER, seconds));
        }
        let Some(word) = word else {
            return Err(unauthorized("this needs a token: send Authorization: Bearer <token>"));
        };
        let tokens = self.tokens(services).await?;
        let Some(token) = word::find(&tokens, &word) else {
            self.limiter.lock().unwrap_or_else(PoisonError::into_inner).fail(key, now);
            tracing::warn!(address = caller.address, "request with a wrong token");
            return Err(unauthorized("this token is not known: it may have been withdrawn"));
        };
        if token.role < needed {
            let (has, needs) = (name(token.role), name(needed));
            let message = format!("token {:?} has the role {has}, this needs {needs}", token.name);
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(Caller { who: token.name.clone(), ..caller })
    }

    async fn tokens(&self, services: &Services) -> Result<Arc<Vec<TokenRecord>>, StoreError> {
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let read = Arc::new(services.store.tokens().await?);
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&read));
        Ok(read)
    }
}

/// Returns the role that a request needs; none: everybody may.
pub(crate) fn needed(method: &Method, path: &str) -> Option<AccessRole> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let is_below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_below("/health") {
        None
    } else if is_below("/tokens") || is_below("/audit") {
        Some(AccessRole::Admin)
    } else if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        Some(AccessRole::Read)
    } else {
        Some(AccessRole::Operate)
    }
}

const fn name(role: AccessRole) -> &'static str {
    match role {
        AccessRole::Read => "read",
        AccessRole::Operate => "operate",
        AccessRole::Admin => "admin",
    }
}

fn unauthorized(message: &str) -> Refusal {
    let scheme = HeaderValue::from_static("Bearer realm=\"teraslice\"");
    Refusal::new(StatusCode::UNAUTHORIZED, message).with_header(header::WWW_AUTHENTICATE, scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_role_a_request_needs() {
        let cases = [
            (Method::GET, "/v1/health/live", None),
            (Method::GET, "/jobs", Some(AccessRole::Read)),
            (Method::HEAD, "/v1/jobs", Some(AccessRole::Read)),
            (Method::POST, "/v1/jobs", Some(AccessRole::Operate)),
            (Method::DELETE, "/assets/x", Some(AccessRole::Operate)),
            (Method::GET, "/v1/tokens", Some(AccessRole::Admin)),
            (Method::DELETE, "/v1/tokens/a", Some(AccessRole::Admin)),
            (Method::GET, "/v1/audit", Some(AccessRole::Admin)),
            (Method::GET, "/healthy", Some(AccessRole::Read)),
        ];
        for (method, path, role) in cases {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }
}
