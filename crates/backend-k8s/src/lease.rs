//! The lease of a cluster: who leads, and in which term.
//!
//! ```text
//!  lead     free, or not renewed for 15 s by the local clock -> holder = this process, transitions + 1 = term
//!  renew    every 5 s, on the version that was written last; another holder there -> lost
//!  release  holder = nobody: the next one need not wait
//! ```

use std::{fmt, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff,
};
use kube::{Api, Client, api::PostParams};
use teraslice_core::{backend::BackendError, context::Context};
use teraslice_model::id::Term;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{api, names, settings::KubernetesSettings};

/// A lease that was not renewed for so long is free.
pub(crate) const DURATION: Duration = Duration::from_secs(15);
/// It is renewed this often.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Somebody else's is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The right to lead a cluster.
pub struct Leadership {
    term: Term,
    lost: CancellationToken,
    released: watch::Sender<bool>,
}

impl Leadership {
    /// Returns the term, which no other leader has had.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// Returns what is cancelled when somebody else leads.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Lets somebody else lead.
    pub async fn release(self) {
        self.released.send_replace(true);
        // The last renewal ends the watch.
        self.released.closed().await;
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("term", &self.term).finish_non_exhaustive()
    }
}

/// Begins a term: every earlier one is over from now on.
///
/// # Errors
///
/// [`BackendError::Fenced`] when a later term has begun.
pub(crate) async fn claim(leases: &Api<Lease>, cluster: &str, term: Term) -> Result<(), BackendError> {
    let name = names::lease(cluster);
    let mut lease = match api::call(leases.get_opt(&name)).await? {
        Some(lease) => lease,
        None => fresh(name.clone()),
    };
    let number = i32::try_from(term.0).unwrap_or(i32::MAX);
    let latest = transitions(&lease);
    if latest > number {
        return Err(BackendError::Fenced { term });
    }
    if latest < number {
        lease.spec.get_or_insert_default().lease_transitions = Some(number);
        write(leases, &name, &lease).await?;
    }
    Ok(())
}

/// Waits until no other master leads the cluster, then leads it under the name `holder`, which no other process has.
pub async fn lead(
    client: Client,
    settings: &KubernetesSettings,
    holder: String,
    context: &Context,
) -> Leadership {
    let leases = Api::namespaced(client, &settings.namespace);
    let name = names::lease(&settings.cluster);
    let mut others: Option<(String, Instant)> = None;
    let taken = loop {
        let mut pause = LOOK_EVERY;
        match try_take(&leases, &name, &holder, &mut others, context).await {
            Ok(Some(taken)) => break taken,
            Ok(None) => tracing::info!(lease = name, "another master leads, waiting"),
            Err(error) => {
                tracing::warn!(lease = name, %error, "lease not taken, trying again");
                pause = api::pause_after(&error).max(LOOK_EVERY);
            }
        }
        sleep(pause).await;
    };
    let term = Term(u64::try_from(transitions(&taken)).unwrap_or_default());
    let (lost, (released, wish)) = (CancellationToken::new(), watch::channel(false));
    let keeper = Keeper { leases, name, holder, lease: taken, lost: lost.clone(), released: wish };
    drop(context.spawn(keeper.run()));
    Leadership { term, lost, released }
}

/// Takes the lease if it is free; `others` is the state in which somebody else's was seen, and since when.
async fn try_take(
    leases: &Api<Lease>,
    name: &str,
    holder: &str,
    others: &mut Option<(String, Instant)>,
    context: &Context,
) -> Result<Option<Lease>, BackendError> {
    let lease = api::call(leases.get_opt(name)).await?;
    let mut lease = lease.unwrap_or_else(|| fresh(name.to_owned()));
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    let now = context.now();
    // Clocks of two machines are never compared: only changes count.
    let is_free = holder_of(&lease).is_none()
        || others.as_ref().is_some_and(|(seen, since)| *seen == version && now - *since > DURATION);
    if !is_free {
        if others.as_ref().is_none_or(|(seen, _)| *seen != version) {
            *others = Some((version, now));
        }
        return Ok(None);
    }
    let next = transitions(&lease) + 1;
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(holder.to_owned());
    spec.lease_transitions = Some(next);
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.acquire_time = Some(now_micro());
    spec.renew_time = Some(now_micro());
    write(leases, name, &lease).await.map(Some)
}

/// Renews a lease until it is lost or let go.
struct Keeper {
    leases: Api<Lease>,
    name: String,
    holder: String,
    lease: Lease,
    lost: CancellationToken,
    released: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = RENEW_EVERY;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.released.changed() => {
                    if changed.is_ok() {
                        self.let_go().await;
                    }
                    return;
                }
            }
            let Some(next) = self.renew().await else {
                self.lost.cancel();
                return;
            };
            pause = next;
        }
    }

    /// Renews once; returns how long to wait before the next time, or none when another leads. While nobody can be asked, this
    /// process goes on leading.
    async fn renew(&mut self) -> Option<Duration> {
        self.lease.spec.get_or_insert_default().renew_time = Some(now_micro());
        match write(&self.leases, &self.name, &self.lease).await {
            Ok(renewed) => {
                self.lease = renewed;
                Some(RENEW_EVERY)
            }
            Err(error) => {
                tracing::warn!(lease = self.name, %error, "lease not renewed, trying again");
                match api::call(self.leases.get_opt(&self.name)).await {
                    Ok(Some(current)) if holder_of(&current) == Some(&self.holder) => self.lease = current,
                    Ok(Some(current)) => {
                        let holder = holder_of(&current).unwrap_or("nobody");
                        tracing::error!(lease = self.name, holder, "another master leads");
                        return None;
                    }
                    Ok(None) => self.lease.metadata = fresh(self.name.clone()).metadata,
                    Err(_) => {}
                }
                Some(api::pause_after(&error).max(RENEW_EVERY))
            }
        }
    }

    async fn let_go(mut self) {
        self.lease.spec.get_or_insert_default().holder_identity = None;
        if let Err(error) = write(&self.leases, &self.name, &self.lease).await {
            tracing::warn!(lease = self.name, %error, "lease not released: the next master has to wait");
        }
    }
}

/// Writes a lease; fails if it was written since it was read.
async fn write(leases: &Api<Lease>, name: &str, lease: &Lease) -> Result<Lease, BackendError> {
    let params = PostParams::default();
    match lease.metadata.resource_version {
        None => api::call(leases.create(&params, lease)).await,
        Some(_) => api::call(leases.replace(name, &params, lease)).await,
    }
}

fn fresh(name: String) -> Lease {
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    Lease { metadata, spec: Some(LeaseSpec::default()) }
}

/// Returns the term.
pub(crate) fn transitions(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0)
}

/// Returns who leads.
pub(crate) fn holder_of(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "the API server wants a wall clock, for people")]
fn now_micro() -> MicroTime {
    MicroTime(jiff::Timestamp::try_from(std::time::SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
