//! A controller process: what `teraslice controller` runs.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use teraslice_core::{
    context::Context,
    control::{ControlCommand, FromController, Hello, ToController},
    execution::{Controller, ControllerHandle, ControllerOptions, ExecutionEnd, Limits},
    store::StateStore,
};
use teraslice_model::id::ExId;
use teraslice_rpc::{
    ConnectError, Duplex, Peer, control,
    link::{ListenOptions, listen},
    secret::Secret,
    store::{RemoteOptions, RemoteStore},
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    identity, metrics,
    process::{Member, Pauses, ProcessError},
};
use crate::{logging, parts::Parts};

/// Statistics that have changed are told to the master this often.
const STATS_EVERY: Duration = Duration::from_millis(250);
/// What the controller has said last has to be sent after this.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// A controller process before it has a runtime.
#[derive(Debug)]
pub struct ControllerProcess {
    member: Member,
}

impl ControllerProcess {
    /// Reads what the process was started for. May compile assets: before the runtime.
    ///
    /// # Errors
    ///
    /// See [`ProcessError`].
    pub fn start(parts: &Parts) -> Result<Self, ProcessError> {
        Member::start(parts).map(|member| Self { member })
    }

    /// Runs the execution until it is over; when `stop` is set, leaves it to a later controller.
    ///
    /// # Errors
    ///
    /// See [`ProcessError`].
    pub async fn run(self, context: &Context, stop: CancellationToken) -> Result<ExecutionEnd, ProcessError> {
        let Member { assignment, prepared, secret, master, host, ports, slicer_timeout, identity, config } =
            self.member;
        let ex_id = assignment.ex_id;
        let store = RemoteStore::new(&master, ex_id, &secret, RemoteOptions::default(), context)?;
        let store: Arc<dyn StateStore> = Arc::new(store);
        let listener = bind(context, &ports).await?;
        let port = listener.local_addr().map_err(teraslice_rpc::link::ListenError::from)?.port();
        let mut listening = ListenOptions::new(ex_id, secret.clone());
        listening.identity = identity::of_controller(&config, identity)?;
        let mut link = listen(listener, listening, context)?;
        let farewell = link.farewell();
        let mut options = ControllerOptions::new(ex_id, assignment.generation);
        options.limits = Limits {
            slicer_timeout,
            worker_disconnect_timeout: config.worker_disconnect_timeout,
            drain_timeout: config.shutdown_timeout,
            ..Limits::default()
        };
        let job = Arc::clone(prepared.plan.job());
        let (controller, handle) =
            Controller::new(options, context.clone(), store, prepared.plan, Box::new(link));
        let place = Place { ex_id, generation: assignment.generation, host, port };
        let report = Report { context: context.clone(), master, secret, handle: handle.clone(), place };
        let reporting = context.spawn(report.run());
        let _metrics = metrics::serve_controller(context, &config.cluster, &job, &assignment, handle.stats());
        let run = controller.run();
        tokio::pin!(run);
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = stop.cancelled() => {
                let (ended, _released) = tokio::join!(run, handle.release());
                ended
            }
        };
        drop(handle);
        let _said = timeout(FAREWELL_MAX, async { tokio::join!(farewell.wait(), reporting) }).await;
        Ok(ended?)
    }
}

/// Takes a free port of the range, beginning somewhere in it: many controllers start at once.
async fn bind(context: &Context, range: &RangeInclusive<u16>) -> Result<TcpListener, ProcessError> {
    let (first, last) = (*range.start(), *range.end());
    let count = u32::from(last.saturating_sub(first)) + 1;
    let begin = context.random(|random| random.u32(..count));
    let mut refused = None;
    for step in 0..count {
        let offset = u16::try_from((begin + step) % count).expect("the count of ports is one of ports");
        match TcpListener::bind(("0.0.0.0", first + offset)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = Some(error),
        }
    }
    let source = refused.expect("a range has at least one port, which was tried");
    Err(ProcessError::Ports { first, last, source })
}

/// Which controller listens where.
#[derive(Clone, Debug)]
struct Place {
    ex_id: ExId,
    generation: teraslice_model::id::Generation,
    host: String,
    port: u16,
}

/// Tells the master where the controller is and how it does, and takes its commands.
struct Report {
    context: Context,
    master: Peer,
    secret: Secret,
    handle: ControllerHandle,
    place: Place,
}

/// Why a connection ended.
enum Over {
    /// The master is gone: connect again.
    Connection,
    /// The controller has ended.
    Controller,
}

impl Report {
    async fn run(self) {
        let Ok(epoch) = self.handle.epoch().await else { return };
        let Place { ex_id, generation, host, port } = self.place.clone();
        let mut hello = Hello { ex_id, generation, epoch, host, port, log_level: None };
        let mut pauses = Pauses::new(self.context.clone());
        loop {
            match control::connect(&self.master, ex_id, &self.secret, &self.context).await {
                Ok(connection) => {
                    pauses.reset();
                    if let Over::Controller = self.talk(connection, &mut hello).await {
                        return;
                    }
                }
                Err(error) => self.note(&error),
            }
            tokio::select! {
                () = pauses.wait() => {}
                () = self.ended() => return,
            }
        }
    }

    fn note(&self, error: &ConnectError) {
        let reason = crate::parts::chain(error);
        tracing::warn!(ex_id = %self.place.ex_id, reason, "master not reached, trying again");
    }

    /// Waits for the end of the controller.
    async fn ended(&self) {
        let mut stats = self.handle.stats();
        while stats.changed().await.is_ok() {}
    }

    async fn talk(&self, connection: Duplex<ToController, FromController>, hello: &mut Hello) -> Over {
        let Duplex { mut from, to } = connection;
        if to.send(FromController::Hello(hello.clone())).await.is_err() {
            return Over::Connection;
        }
        let mut stats = self.handle.stats();
        let mut ticks = interval(STATS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        stats.mark_changed();
        loop {
            let message = tokio::select! {
                message = from.recv() => match message {
                    Some(ToController::Command { number, command }) => {
                        let level = command.log_level().map(str::to_owned);
                        let done = self.obey(number, command).await;
                        if let Some(level) = level.filter(|_| done.is_done()) {
                            // Workers hear of it from the master: those that join later too.
                            hello.log_level = Some(level);
                            if to.send(FromController::Hello(hello.clone())).await.is_err() {
                                return Over::Connection;
                            }
                        }
                        done
                    }
                    None => return Over::Connection,
                },
                _ = ticks.tick() => match stats.has_changed() {
                    Ok(false) => continue,
                    Ok(true) => FromController::Stats(Box::new(stats.borrow_and_update().clone())),
                    Err(_) => return self.last_words(&to).await,
                },
            };
            if to.send(message).await.is_err() {
                return Over::Connection;
            }
        }
    }

    /// Tells the last statistics.
    async fn last_words(&self, to: &mpsc::Sender<FromController>) -> Over {
        let last = self.handle.stats().borrow().clone();
        let _gone = to.send(FromController::Stats(Box::new(last))).await;
        Over::Controller
    }

    async fn obey(&self, number: u64, command: ControlCommand) -> FromController {
        let gone = |_| "the execution controller is ending".to_owned();
        let done = match command {
            ControlCommand::Pause => self.handle.pause().await.map_err(gone),
            ControlCommand::Resume => self.handle.resume().await.map_err(gone),
            ControlCommand::Stop => self.handle.stop().await.map_err(gone),
            ControlCommand::LogLevel(level) => {
                logging::set_level(&level).map_err(|unknown| unknown.to_string())
            }
        };
        FromController::Done { command: number, error: done.err() }
    }
}
