//! A worker process of a cluster: what `teraslice worker` runs on a node.

use std::time::Duration;

use teraslice_core::{
    backend::variables::WORKER_ID,
    context::Context,
    control::Hello,
    worker::{Worker, WorkerEnd, WorkerOptions},
};
use teraslice_model::{
    id::{Generation, WorkerId},
    timestamp::Timestamp,
};
use teraslice_rpc::{
    ConnectError, Peer,
    link::{ConnectOptions, GrpcWorker, connect},
    locate,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    identity, metrics,
    process::{Member, Pauses, ProcessError, is_member},
};
use crate::{
    logging,
    parts::{Parts, chain},
};

/// A controller that was told to leave is succeeded within this, or there is nothing left to do.
const SUCCESSOR_MAX: Duration = Duration::from_secs(15);
/// A controller that has just moved is tried this long before it is looked up again.
const TRY_MAX: Duration = Duration::from_secs(2);

/// A worker process before it has a runtime.
#[derive(Debug)]
pub struct ClusterWorker {
    member: Member,
}

impl ClusterWorker {
    /// Tells whether this process was started by a node of a cluster.
    #[must_use]
    pub fn is_meant() -> bool {
        is_member()
    }

    /// Reads what the process was started for. May compile assets: before the runtime.
    ///
    /// # Errors
    ///
    /// See [`ProcessError`].
    pub fn start(parts: &Parts) -> Result<Self, ProcessError> {
        Member::start(parts).map(|member| Self { member })
    }

    /// Runs slices until the execution is over or `stop` is set. A controller that goes is looked for again.
    ///
    /// # Errors
    ///
    /// See [`ProcessError`].
    pub async fn run(self, context: &Context, stop: CancellationToken) -> Result<WorkerEnd, ProcessError> {
        let Member { assignment, prepared, secret, master, config, .. } = self.member;
        // A pod has a name of its own, as its places are taken by one after the other.
        let name = std::env::var(WORKER_ID).unwrap_or_else(|_| format!("worker-{}", assignment.ordinal));
        let id = WorkerId::new(name);
        let counter = metrics::SliceCounter::default();
        let job = prepared.plan.job();
        let _metrics = metrics::serve_worker(context, &config.cluster, job, &assignment, counter.clone());
        let located = follow(context, &master, &assignment, &secret, &id);
        let mut controller = master;
        controller.name = identity::name_of_controller(&config, assignment.ex_id);
        let mut finder = Finder {
            context: context.clone(),
            controller,
            options: ConnectOptions {
                wait_max: TRY_MAX,
                ..ConnectOptions::new(assignment.ex_id, secret, id.clone(), assignment.incarnation)
            },
            generation: assignment.generation,
            located,
        };
        let mut pauses = Pauses::new(context.clone());
        let mut within = config.worker_disconnect_timeout;
        loop {
            let found = tokio::select! {
                found = timeout(within, finder.find()) => found,
                () = stop.cancelled() => return Ok(WorkerEnd::Stopped),
            };
            let mut link = found.map_err(|_| ProcessError::NoController { within })??;
            let mut options = WorkerOptions::new(assignment.ex_id, id.clone());
            options.job_id = assignment.job_id;
            options.drain_timeout = config.shutdown_timeout / 2;
            let farewell = link.farewell();
            let link = Box::new(counter.count(link));
            let worker = Worker::new(options, context.clone(), prepared.plan.clone(), link);
            let end = worker.run(stop.clone()).await;
            farewell.wait().await;
            match end {
                WorkerEnd::LinkClosed if !stop.is_cancelled() => {
                    tracing::info!(ex_id = %assignment.ex_id, "execution controller is gone, looking for it");
                    within = config.worker_disconnect_timeout;
                }
                // The controller ends, or leaves the execution to a later one.
                WorkerEnd::Drained if !stop.is_cancelled() => {
                    within = SUCCESSOR_MAX;
                    pauses.wait().await;
                }
                end => return Ok(end),
            }
        }
    }
}

/// Where the controller was seen last, and when.
type Located = watch::Receiver<Option<(Hello, Timestamp)>>;

/// Follows where the controller is and how to log, through restarts of the master.
fn follow(
    context: &Context,
    master: &Peer,
    assignment: &teraslice_backend_native::child::Assignment,
    secret: &teraslice_rpc::secret::Secret,
    worker: &WorkerId,
) -> Located {
    let (sender, located) = watch::channel(None);
    let (context, master, secret) = (context.clone(), master.clone(), secret.clone());
    let ex_id = assignment.ex_id;
    let (worker, mut level) = (worker.clone(), None);
    let mut pauses = Pauses::new(context.clone());
    drop(context.clone().spawn(async move {
        while !sender.is_closed() {
            match locate::watch(&master, ex_id, &secret).await {
                Ok(mut watch) => {
                    pauses.reset();
                    while let Some(hello) = watch.next().await {
                        if hello.log_level.is_some() && hello.log_level != level {
                            level.clone_from(&hello.log_level);
                            log_at(level.as_deref().unwrap_or_default(), &worker);
                        }
                        sender.send_replace(Some((hello, context.wall())));
                    }
                }
                Err(error) => {
                    tracing::debug!(%ex_id, reason = chain(&error), "master not reached, trying again");
                }
            }
            pauses.wait().await;
        }
    }));
    located
}

/// Logs as the controller was told to.
fn log_at(level: &str, worker: &WorkerId) {
    match logging::set_level(level) {
        Ok(()) => tracing::info!(%worker, level, "log level set"),
        Err(unknown) => tracing::warn!(%worker, error = %unknown, "log level not set"),
    }
}

/// Finds the controller and connects to it.
struct Finder {
    context: Context,
    /// How peers are reached; the address is the controller's.
    controller: Peer,
    options: ConnectOptions,
    generation: Generation,
    located: Located,
}

impl Finder {
    async fn find(&mut self) -> Result<GrpcWorker, ProcessError> {
        let mut pauses = Pauses::new(self.context.clone());
        loop {
            let here = self.located.borrow_and_update().clone();
            if let Some((hello, _)) = here.filter(|(hello, _)| hello.generation >= self.generation) {
                let scheme = if self.controller.ca_pem.is_some() { "https" } else { "http" };
                self.controller.endpoint = format!("{scheme}://{}:{}", hello.host, hello.port);
                let connected = tokio::select! {
                    connected = connect(&self.controller, &self.options, &self.context) => connected,
                    // The controller was seen elsewhere: what is tried leads to one that is gone.
                    Ok(()) = self.located.changed() => continue,
                };
                match connected {
                    Ok(link) => return Ok(link),
                    // Another execution may have got the port of a controller that is gone.
                    Err(error @ (ConnectError::Replaced { .. } | ConnectError::Version { .. })) => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        tracing::debug!(
                            reason = chain(&error),
                            "execution controller not reached, trying again"
                        );
                    }
                }
            }
            tokio::select! {
                () = pauses.wait() => {}
                changed = self.located.changed() => if changed.is_err() { pauses.wait().await },
            }
        }
    }
}
