//! The controller and the workers of one execution as tasks of this process.

use std::{path::PathBuf, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use teraslice_backend_native::{
    Launcher, Start,
    socket::{Secret, SocketOptions, listen},
};
use teraslice_core::{
    backend::{ExitReason, Role},
    context::Context,
    execution::{Controller, ControllerError, ControllerHandle, ControllerOptions, ExecutionEnd, Limits},
    link::{
        ControllerLink,
        channel::{ChannelDialer, channel},
    },
    plan::Plan,
    store::StateStore,
    worker::{Worker, WorkerEnd, WorkerOptions},
};
use teraslice_model::{execution::Stats, id::WorkerId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::exit_code;

/// Starts the controller and the workers of one execution. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LocalLauncher {
    shared: Arc<Shared>,
}

/// What the launcher is made with.
#[derive(Debug)]
pub(super) struct LauncherOptions {
    pub(super) context: Context,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) plan: Plan,
    pub(super) limits: Limits,
    /// Where worker processes come in; absent: workers are tasks.
    pub(super) socket: Option<(PathBuf, Secret)>,
}

#[derive(Debug)]
struct Shared {
    options: LauncherOptions,
    /// How worker tasks reach the present controller.
    dialer: watch::Sender<Option<ChannelDialer>>,
    /// The present controller, or the last.
    controller: watch::Sender<Option<ControllerHandle>>,
    /// How the last controller ended.
    end: watch::Sender<Option<ExecutionEnd>>,
    failures: mpsc::UnboundedSender<ControllerError>,
}

impl LocalLauncher {
    /// Makes a launcher, and the place where controllers that cannot go on tell why.
    pub(super) fn new(options: LauncherOptions) -> (Self, mpsc::UnboundedReceiver<ControllerError>) {
        let (failures, told) = mpsc::unbounded_channel();
        let (dialer, controller, end) = Default::default();
        let shared = Shared { options, dialer, controller, end, failures };
        (Self { shared: Arc::new(shared) }, told)
    }

    /// Returns the statistics of the present controller, or of the last.
    pub(super) fn stats(&self) -> Stats {
        let controller = self.shared.controller.borrow();
        controller.as_ref().map(|controller| controller.stats().borrow().clone()).unwrap_or_default()
    }

    /// Returns how the last controller ended.
    pub(super) fn end(&self) -> Option<ExecutionEnd> {
        self.shared.end.borrow().clone()
    }
}

impl Launcher for LocalLauncher {
    fn launch(&self, start: Start, stop: CancellationToken) -> BoxFuture<'static, ExitReason> {
        let shared = Arc::clone(&self.shared);
        match start.role {
            Role::Controller => async move { shared.control(start, stop).await }.boxed(),
            Role::Worker => async move { shared.work(start, stop).await }.boxed(),
        }
    }
}

impl Shared {
    async fn control(&self, start: Start, stop: CancellationToken) -> ExitReason {
        let LauncherOptions { context, store, plan, limits, .. } = &self.options;
        let Some(link) = self.listen() else { return ExitReason::Code(exit_code::INTERNAL.into()) };
        let mut options = ControllerOptions::new(start.ex_id, start.generation);
        options.limits = limits.clone();
        let (controller, handle) =
            Controller::new(options, context.clone(), Arc::clone(store), plan.clone(), link);
        self.controller.send_replace(Some(handle.clone()));
        let run = controller.run();
        tokio::pin!(run);
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = stop.cancelled() => {
                let (ended, _released) = tokio::join!(run, handle.release());
                ended
            }
        };
        match ended {
            Ok(end) => {
                let code = if end.is_resumable { exit_code::INTERRUPTED } else { exit_code::DONE };
                self.end.send_replace(Some(end));
                if code == exit_code::DONE { ExitReason::Completed } else { ExitReason::Code(code.into()) }
            }
            Err(error) => {
                let is_fenced = matches!(error, ControllerError::Fenced(_));
                let code = if is_fenced { exit_code::FENCED } else { exit_code::STATE };
                // Nobody waits any more for a run that is being ended.
                let _nobody = self.failures.send(error);
                ExitReason::Code(code.into())
            }
        }
    }

    /// Opens the controller's end of the link.
    fn listen(&self) -> Option<Box<dyn ControllerLink>> {
        let Some((path, secret)) = &self.options.socket else {
            let (link, dialer) = channel();
            self.dialer.send_replace(Some(dialer));
            return Some(Box::new(link));
        };
        let listening = listen(path, SocketOptions::new(secret.clone()), &self.options.context);
        let listening = listening.inspect_err(|error| {
            tracing::error!(reason = crate::parts::chain(error), "failed to listen for workers");
        });
        listening.ok().map(|link| Box::new(link) as Box<dyn ControllerLink>)
    }

    async fn work(&self, start: Start, stop: CancellationToken) -> ExitReason {
        let LauncherOptions { context, plan, .. } = &self.options;
        let mut dialers = self.dialer.subscribe();
        let link = loop {
            let dialer = dialers.borrow_and_update().clone();
            if let Some(dialer) = dialer
                && let Ok(link) = dialer.connect().await
            {
                break link;
            }
            // There is no controller yet, or not any more: wait for the next.
            tokio::select! {
                _next = dialers.changed() => {}
                () = stop.cancelled() => return ExitReason::Completed,
            }
        };
        let mut options = WorkerOptions::new(start.ex_id, WorkerId::new(format!("worker-{}", start.ordinal)));
        options.job_id = start.job_id;
        match Worker::new(options, context.clone(), plan.clone(), Box::new(link)).run(stop).await {
            WorkerEnd::Finished | WorkerEnd::Drained | WorkerEnd::Stopped => ExitReason::Completed,
            WorkerEnd::LinkClosed => ExitReason::INTERRUPTED,
        }
    }
}
