//! The engine's loop: which execution takes a step, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use teraslice_model::{
    id::{ExId, Generation},
    status::Status,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Charge, Command, Engine, EngineError, View,
    step::{Failure, Next, Subject, Surroundings},
    sweep::{Suspects, Swept},
};
use crate::backend::{BackendError, BackendEvent, ClusterBackend, Retire, Retired, Scope, StopBackend};

/// After its end, the stream of a backend's events is opened again after so long.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// A change of an execution that is not looked after brings the next sweep this near.
const SWEEP_AFTER: Duration = Duration::from_secs(1);
/// While everything is ending, it is looked this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The running engine.
pub(super) struct Service<B> {
    around: Surroundings<B>,
    commands: mpsc::Receiver<Command>,
    events: BoxStream<'static, BackendEvent>,
    /// When the events are opened again, after their end.
    reopen: Option<Instant>,
    entries: BTreeMap<ExId, Entry>,
    /// Who is due when, of those without a step under way: of many executions few are due.
    agenda: Agenda,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Nothing is done before the term has begun.
    is_adopted: bool,
    adopt_pause: Duration,
    /// Absent while a sweep is under way.
    suspects: Option<Suspects>,
    tick: Instant,
    sweep: Instant,
}

type Agenda = BTreeSet<(Instant, ExId)>;

/// An execution that is looked after.
struct Entry {
    /// Absent while a step is under way.
    subject: Option<Box<Subject>>,
    /// What changed during a step.
    workers: Option<u32>,
    is_stop_asked: bool,
    due: Option<Instant>,
    /// With what it stands in the agenda.
    noted: Option<Instant>,
    /// Grows with every failure in a row.
    pause: Option<Duration>,
    view: watch::Sender<View>,
}

/// What has happened.
enum Event {
    Command(Option<Command>),
    Backend(Option<BackendEvent>),
    Done(Done),
    Due,
}

/// Work that is finished.
enum Done {
    Adopted(Result<(), Failure>),
    Stepped(Box<Subject>, Result<Next, Failure>, Option<View>),
    Swept(Result<Swept, Failure>),
}

impl<B: ClusterBackend> Service<B> {
    pub(super) fn new(engine: Engine<B>) -> Self {
        let Engine { options, context, store, backend, commands } = engine;
        let (events, now) = (backend.events(), context.now());
        let (tick, adopt_pause) = (now + options.tick, options.patience.pause_min);
        Self {
            around: Surroundings { options: Arc::new(options), context, store, backend },
            commands,
            events,
            reopen: None,
            entries: BTreeMap::new(),
            agenda: Agenda::new(),
            work: FuturesUnordered::new(),
            is_adopted: false,
            adopt_pause,
            suspects: Some(Suspects::new()),
            tick,
            sweep: now,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), EngineError> {
        self.work.push(self.adopt(Duration::ZERO));
        loop {
            self.begin_steps();
            let event = self.next().await;
            if let Some(how) = self.handle(event)? {
                return self.shut_down(how).await;
            }
        }
    }

    async fn next(&mut self) -> Event {
        let due = self.due();
        tokio::select! {
            biased;
            command = self.commands.recv() => Event::Command(command),
            Some(done) = self.work.next(), if !self.work.is_empty() => Event::Done(done),
            event = self.events.next(), if self.reopen.is_none() => Event::Backend(event),
            () = sleep_until(due) => Event::Due,
        }
    }

    fn handle(&mut self, event: Event) -> Result<Option<StopBackend>, EngineError> {
        match event {
            Event::Command(None) => return Ok(Some(StopBackend::Detach)),
            Event::Command(Some(Command::Shutdown(how))) => return Ok(Some(how)),
            Event::Command(Some(command)) => self.obey(command),
            Event::Backend(Some(BackendEvent::Resync)) => self.look_afresh(),
            Event::Backend(Some(BackendEvent::Changed(ex_id))) => {
                let now = self.now();
                match self.entries.get_mut(&ex_id) {
                    Some(entry) => entry.set_due(Some(now), ex_id, &mut self.agenda),
                    // A node that was away when the execution ended may have come back with what it runs.
                    None => self.sweep = self.sweep.min(now + SWEEP_AFTER),
                }
            }
            Event::Backend(None) => self.reopen = Some(self.now() + REOPEN_AFTER),
            Event::Done(done) => self.finish(done)?,
            Event::Due => self.pass(),
        }
        Ok(None)
    }

    fn now(&self) -> Instant {
        self.around.context.now()
    }

    /// Returns when something has to be done at the latest.
    fn due(&self) -> Instant {
        let sweep = (self.is_adopted && self.suspects.is_some()).then_some(self.sweep);
        let step = self.agenda.first().filter(|_| self.is_adopted).map(|(due, _)| *due);
        let due = step.into_iter().chain(self.reopen).chain(sweep).min();
        due.map_or(self.tick, |due| due.min(self.tick))
    }

    /// Does what time asks for.
    fn pass(&mut self) {
        let now = self.now();
        if now >= self.tick {
            self.tick = now + self.around.options.tick;
            self.look_at_all();
        }
        if self.reopen.is_some_and(|reopen| now >= reopen) {
            self.events = self.around.backend.events();
            self.reopen = None;
        }
        if self.is_adopted
            && now >= self.sweep
            && let Some(suspects) = self.suspects.take()
        {
            self.sweep = now + self.around.options.sweep_every;
            let around = self.around.clone();
            let tracked = self.entries.keys().copied().collect();
            self.work.push(async move { Done::Swept(around.sweep(&tracked, suspects).await) }.boxed());
        }
    }

    fn look_at_all(&mut self) {
        let now = self.now();
        for (ex_id, entry) in &mut self.entries {
            // One that is failing keeps its pause.
            if entry.pause.is_none() {
                entry.set_due(Some(now), *ex_id, &mut self.agenda);
            }
        }
    }

    /// Looks at everything: what has failed before may go well now that the backend is back.
    fn look_afresh(&mut self) {
        let now = self.now();
        for (ex_id, entry) in &mut self.entries {
            entry.set_due(Some(now), *ex_id, &mut self.agenda);
        }
    }

    fn adopt(&self, after: Duration) -> BoxFuture<'static, Done> {
        let around = self.around.clone();
        async move {
            tokio::time::sleep(after).await;
            let adopted = around.backend.adopt(around.options.term);
            let adopted = around.call("the cluster backend", adopted).await;
            Done::Adopted(adopted.map(|_| ()))
        }
        .boxed()
    }

    fn begin_steps(&mut self) {
        if !self.is_adopted {
            return;
        }
        let now = self.now();
        while let Some((_, ex_id)) = self.agenda.first().copied().filter(|(due, _)| *due <= now) {
            let entry = self.entries.get_mut(&ex_id).expect("the agenda is about entries");
            let mut subject = entry.subject.take().expect("the agenda is about entries without a step");
            entry.set_due(None, ex_id, &mut self.agenda);
            subject.workers = entry.workers;
            subject.is_stop_asked = entry.is_stop_asked;
            let around = self.around.clone();
            let step = async move {
                let (next, view) = around.step(&mut subject).await;
                Done::Stepped(subject, next, view)
            };
            self.work.push(step.boxed());
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Track(ex_id, status, reply) => {
                let entry = self.track(ex_id, status);
                let _nobody_waits = reply.send(entry.view.subscribe());
            }
            Command::Scale(ex_id, workers, reply) => {
                let found = self.entries.get_mut(&ex_id).map(|entry| {
                    entry.workers = Some(workers);
                    entry.set_due(Some(now), ex_id, &mut self.agenda);
                });
                let _nobody_waits = reply.send(found.is_some());
            }
            Command::Stop(ex_id, reply) => {
                let found = self.entries.get_mut(&ex_id).map(|entry| {
                    entry.is_stop_asked = true;
                    entry.set_due(Some(now), ex_id, &mut self.agenda);
                });
                let _nobody_waits = reply.send(found.is_some());
            }
            Command::Watch(ex_id, reply) => {
                let watched = self.entries.get(&ex_id).map(|entry| entry.view.subscribe());
                let _nobody_waits = reply.send(watched);
            }
            Command::Shutdown(_) => {}
        }
    }

    fn track(&mut self, ex_id: ExId, status: Status) -> &mut Entry {
        let now = self.now();
        let entry = self.entries.entry(ex_id).or_insert_with(|| Entry::new(ex_id, status));
        entry.set_due(Some(now), ex_id, &mut self.agenda);
        entry
    }

    fn finish(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Adopted(Ok(())) => {
                self.is_adopted = true;
                self.look_at_all();
            }
            Done::Adopted(Err(Failure::Fenced(term))) => return Err(EngineError::Fenced { term }),
            Done::Adopted(Err(failure)) => {
                tracing::warn!(?failure, "cluster backend not available, trying again");
                self.work.push(self.adopt(self.around.context.jittered(self.adopt_pause)));
                self.adopt_pause = (self.adopt_pause * 2).min(self.around.options.patience.pause_max);
            }
            Done::Stepped(subject, next, view) => self.stepped(subject, next, view)?,
            Done::Swept(Ok(swept)) => {
                if !swept.suspects.is_empty() {
                    self.sweep = self.sweep.min(self.now() + self.around.options.unknown_for);
                }
                self.suspects = Some(swept.suspects);
                for execution in swept.unfinished {
                    if !self.entries.contains_key(&execution.ex_id) {
                        self.track(execution.ex_id, execution.status);
                    }
                }
            }
            Done::Swept(Err(Failure::Fenced(term))) => return Err(EngineError::Fenced { term }),
            Done::Swept(Err(failure)) => {
                tracing::warn!(?failure, "sweep failed, trying again");
                self.suspects = Some(Suspects::new());
                self.sweep = self.now() + self.around.options.patience.pause_max;
            }
        }
        Ok(())
    }

    fn stepped(
        &mut self,
        subject: Box<Subject>,
        next: Result<Next, Failure>,
        view: Option<View>,
    ) -> Result<(), EngineError> {
        let (now, ex_id) = (self.now(), subject.ex_id);
        let entry = self.entries.get_mut(&ex_id).expect("an entry stays while its step is under way");
        entry.show(view, next.as_ref().err());
        entry.subject = Some(subject);
        match next {
            Ok(Next::Settled | Next::Vanished) => {
                self.entries.remove(&ex_id);
                return Ok(());
            }
            Ok(Next::Again) | Err(Failure::Outdated | Failure::Refused(_)) => {
                entry.set_due(Some(now), ex_id, &mut self.agenda);
            }
            Ok(Next::Quiet(after)) => {
                let due = after.map(|after| now + after);
                let due = entry.due.into_iter().chain(due).min();
                entry.set_due(due, ex_id, &mut self.agenda);
            }
            Err(Failure::Fenced(term)) => return Err(EngineError::Fenced { term }),
            Err(Failure::Passing { reason, at_least }) => {
                let patience = &self.around.options.patience;
                let pause =
                    entry.pause.map_or(patience.pause_min, |pause| (pause * 2).min(patience.pause_max));
                let wait = self.around.context.jittered(pause).max(at_least.unwrap_or_default());
                tracing::warn!(%ex_id, reason, ?wait, "reconciling failed, trying again");
                entry.pause = Some(pause);
                entry.set_due(Some(now + wait), ex_id, &mut self.agenda);
                return Ok(());
            }
        }
        entry.pause = None;
        Ok(())
    }

    /// Ends: with `Terminate` everything leaves first.
    async fn shut_down(mut self, how: StopBackend) -> Result<(), EngineError> {
        self.work.clear();
        let grace = self.around.options.patience.drain_grace;
        // What runs is not this engine's before its term has begun.
        if how == StopBackend::Terminate
            && !self.is_adopted
            && let Ok(adopted) = timeout(grace, self.adopt(Duration::ZERO)).await
        {
            self.finish(adopted)?;
        }
        let how = if self.is_adopted { how } else { StopBackend::Detach };
        if how == StopBackend::Terminate
            && timeout(grace + Duration::from_secs(1), self.drain(grace)).await.is_err()
        {
            tracing::warn!("not everything has left in time, ending it");
        }
        match self.around.backend.stop(how).await {
            // It has never led.
            Err(BackendError::Fenced { .. }) if !self.is_adopted => Ok(()),
            stopped => stopped.map_err(EngineError::Stop),
        }
    }

    async fn drain(&mut self, grace: Duration) {
        loop {
            let mut is_empty = true;
            match self.around.backend.observe(Scope::Cluster).await {
                Ok(snapshot) => {
                    let live = snapshot.instances.iter().filter(|instance| instance.phase.is_live());
                    for ex_id in live.map(|instance| instance.ex_id).collect::<BTreeSet<_>>() {
                        let is_ours =
                            self.around.options.charge == Charge::All || self.entries.contains_key(&ex_id);
                        if is_ours {
                            let how = Retire::Drain { grace };
                            let retired = self.around.backend.retire(ex_id, Generation(u64::MAX), how).await;
                            is_empty &= matches!(retired, Ok(Retired::Gone));
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cluster backend not available while ending");
                    is_empty = false;
                }
            }
            if is_empty {
                return;
            }
            let _hint_or_time = timeout(LOOK_EVERY, self.events.next()).await;
        }
    }
}

impl Entry {
    fn new(ex_id: ExId, status: Status) -> Self {
        let view = View {
            ex_id,
            status,
            failure: None,
            is_controller_live: false,
            workers_live: 0,
            workers_wanted: 0,
            conditions: Vec::new(),
            is_settled: false,
        };
        Self {
            subject: Some(Box::new(Subject::new(ex_id))),
            workers: None,
            is_stop_asked: false,
            due: None,
            noted: None,
            pause: None,
            view: watch::Sender::new(view),
        }
    }

    /// Says when it is due; in the agenda it stands only while no step of it is under way.
    fn set_due(&mut self, due: Option<Instant>, ex_id: ExId, agenda: &mut Agenda) {
        self.due = due;
        let noted = due.filter(|_| self.subject.is_some());
        if self.noted != noted {
            if let Some(before) = self.noted {
                agenda.remove(&(before, ex_id));
            }
            agenda.extend(noted.map(|at| (at, ex_id)));
            self.noted = noted;
        }
    }

    /// Shows the view of a step; while steps fail, the last one with what fails.
    fn show(&self, view: Option<View>, failure: Option<&Failure>) {
        let condition = failure.and_then(Failure::condition);
        self.view.send_if_modified(|shown| {
            let mut fresh = view.unwrap_or_else(|| shown.clone());
            if let Some(condition) = condition {
                fresh.conditions.retain(|it| mem::discriminant(it) != mem::discriminant(&condition));
                fresh.conditions.push(condition);
            }
            let is_new = fresh != *shown;
            *shown = fresh;
            is_new
        });
    }
}
