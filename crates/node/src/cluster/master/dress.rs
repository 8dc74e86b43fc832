//! What processes are given beyond their job: the secret of their execution, a certificate, the word for assets.

use serde_json::{Map, Value};
use teraslice_backend_native::{nodes::message::ProcessSpec, socket::SECRET};
use teraslice_core::{backend::Role, store::StateStore};
use teraslice_model::id::ExId;
use teraslice_rpc::{
    introduce::{Introduction, Stranger},
    secret::ClusterKey,
    tls::Authority,
};

use super::super::{
    identity::{self, IDENTITY},
    node::BUNDLE_TOKEN,
};

/// Completes what processes are started with.
pub(super) struct Dress {
    pub(super) key: ClusterKey,
    pub(super) bundle_token: Option<String>,
    pub(super) authority: Option<Authority>,
}

impl Dress {
    /// Adds it to what a node starts a process with.
    pub(super) fn put_on(&self, spec: &mut ProcessSpec) {
        let Introduction { secret, job: _, identity, bundle_token } =
            self.introduction(spec.key.ex_id, spec.key.role, Map::new());
        spec.env.insert(SECRET.to_owned(), secret);
        let others = [(BUNDLE_TOKEN, bundle_token), (IDENTITY, identity)];
        spec.env.extend(others.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }

    /// Tells a process that has shown who it is what it is for.
    pub(super) async fn introduce(
        &self,
        store: &dyn StateStore,
        ex_id: ExId,
        role: Role,
    ) -> Result<Introduction, Stranger> {
        let execution = store.execution(ex_id).await;
        let execution = execution.map_err(|error| Stranger::Unavailable { reason: error.to_string() })?;
        let running = execution.filter(|execution| !execution.status.is_terminal());
        let running =
            running.ok_or_else(|| Stranger::Unknown { reason: format!("execution {ex_id} does not run") })?;
        Ok(self.introduction(ex_id, role, running.job))
    }

    fn introduction(&self, ex_id: ExId, role: Role, job: Map<String, Value>) -> Introduction {
        Introduction {
            secret: self.key.execution(ex_id).expose().to_owned(),
            job,
            identity: if role == Role::Controller { self.certificate(ex_id) } else { None },
            bundle_token: self.bundle_token.clone(),
        }
    }

    /// Returns the certificate of the master's own authority, PEM, which whoever connects has to believe.
    pub(super) fn authority_pem(&self) -> Option<String> {
        self.authority.as_ref().map(|authority| authority.cert_pem().to_owned())
    }

    /// Returns the certificate and the key of a controller, PEM, where links are encrypted by the master's own authority.
    fn certificate(&self, ex_id: ExId) -> Option<String> {
        let issued = self.authority.as_ref()?.issue(&[identity::controller_name(ex_id)]);
        let issued = issued.inspect_err(
            |error| tracing::error!(%ex_id, %error, "no certificate for the execution controller"),
        );
        issued.ok().map(|identity| format!("{}{}", identity.cert_pem, identity.key_pem))
    }
}
