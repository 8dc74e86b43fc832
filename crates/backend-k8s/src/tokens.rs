//! Tells by its token which pod a caller is, offline: by the keys that the API server publishes.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use kube::Client;
use serde::Deserialize;
use teraslice_core::{backend::BackendError, context::Context};
use tokio::time::Instant;

use crate::api;

/// Where the API server publishes its keys.
const KEYS: &str = "/openid/v1/jwks";
/// Keys are asked for again after this at the earliest: a token with an unknown key costs nothing.
const KEYS_PAUSE: Duration = Duration::from_secs(10);
/// How tokens of service accounts may be signed.
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384];

/// The pod that has shown a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PodIdentity {
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub uid: String,
}

/// Why a token does not tell who has shown it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token of this cluster, or is over.
    #[error("it is not valid here")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// It was signed with a key that the API server does not know.
    #[error("nobody knows the key {key:?} that it is signed with")]
    UnknownKey {
        /// The key's name.
        key: String,
    },
    /// It is for another namespace.
    #[error("it is of namespace {namespace:?}")]
    Namespace {
        /// That namespace.
        namespace: String,
    },
    /// It is bound to no pod.
    #[error("it is bound to no pod")]
    NoPod,
    /// The keys cannot be had.
    #[error("the keys of the API server cannot be read")]
    Keys(#[source] BackendError),
}

impl TokenError {
    /// Tells whether another try may go better.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Keys(_))
    }
}

/// Checks tokens. Revocation is not seen here: whoever asks has to look whether the pod still exists.
pub struct TokenVerifier {
    client: Client,
    context: Context,
    audience: String,
    namespace: String,
    known: Mutex<JwkSet>,
    /// When the keys were asked for last. Held while they are, so that known keys are found meanwhile.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Bound,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: Option<PodIdentity>,
}

impl TokenVerifier {
    /// Makes one for the pods of a namespace, whose tokens are for this audience.
    #[must_use]
    pub fn new(client: Client, audience: String, namespace: String, context: Context) -> Self {
        let known = Mutex::new(JwkSet { keys: Vec::new() });
        Self { client, context, audience, namespace, known, asked: tokio::sync::Mutex::new(None) }
    }

    /// Returns which pod has shown a token.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub async fn verify(&self, token: &str) -> Result<PodIdentity, TokenError> {
        let header = decode_header(token)?;
        let key = self.key(header.kid.unwrap_or_default()).await?;
        let mut validation = Validation::new(header.alg);
        validation.algorithms = ALGORITHMS.into_iter().filter(|known| *known == header.alg).collect();
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        let Bound { namespace, pod } = decode::<Claims>(token, &key, &validation)?.claims.kubernetes;
        if namespace != self.namespace {
            return Err(TokenError::Namespace { namespace });
        }
        pod.ok_or(TokenError::NoPod)
    }

    /// Returns the key with that name; keys are rotated, so one that is not known is asked for.
    async fn key(&self, name: String) -> Result<DecodingKey, TokenError> {
        if let Some(key) = self.find(&name) {
            return Ok(key?);
        }
        let mut asked = self.asked.lock().await;
        if let Some(key) = self.find(&name) {
            return Ok(key?);
        }
        let now = self.context.now();
        if asked.is_none_or(|asked| now - asked >= KEYS_PAUSE) {
            let keys = api::call(published(&self.client)).await.map_err(TokenError::Keys)?;
            *self.known() = keys;
            *asked = Some(now);
        }
        Ok(self.find(&name).ok_or(TokenError::UnknownKey { key: name })??)
    }

    fn find(&self, name: &str) -> Option<jsonwebtoken::errors::Result<DecodingKey>> {
        self.known().find(name).map(DecodingKey::from_jwk)
    }

    fn known(&self) -> MutexGuard<'_, JwkSet> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the keys that the API server publishes.
pub(crate) async fn published(client: &Client) -> kube::Result<JwkSet> {
    let request = http::Request::get(KEYS).body(Vec::new()).expect("the path is a path");
    client.request(request).await
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").field("audience", &self.audience).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
