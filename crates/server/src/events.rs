//! The event stream of an execution: its status on each change, its statistics at most each second, its end.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use serde::Serialize;
use teraslice_api::event::{END, PROGRESS, ProgressEvent, STATUS, StatusEvent};
use teraslice_core::engine::View;
use teraslice_model::{
    execution::{Execution, Stats},
    id::ExId,
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until},
};

use crate::{app::App, refusal::Refusal};

/// The least time between two looks at an execution, and thereby between two reports of its progress.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// At the latest after so long it is looked whether the execution has ended, whatever the hints say.
const LOOK_AT_LATEST: Duration = Duration::from_secs(15);
/// A comment is sent after so long without an event.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// One listener.
struct Listener {
    app: Arc<App>,
    ex_id: ExId,
    /// What the engine knows; absent: it does not look after the execution.
    view: Option<watch::Receiver<View>>,
    reported: watch::Receiver<Option<Stats>>,
    status: Option<StatusEvent>,
    stats: Option<Stats>,
    ready: VecDeque<Event>,
    looked: Option<Instant>,
    is_over: bool,
    _room: OwnedSemaphorePermit,
}

/// Begins the event stream of an execution.
pub(crate) async fn stream(
    app: Arc<App>,
    ex_id: ExId,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let _known = app.execution(ex_id).await?;
    let room = Arc::clone(&app.streams).try_acquire_owned();
    let room = room.map_err(|_| Refusal::unavailable("too many event streams are open"))?;
    let listener = Listener {
        view: app.services.engine.watch(ex_id).await.ok(),
        reported: app.services.controllers.reported(ex_id),
        app,
        ex_id,
        status: None,
        stats: None,
        ready: VecDeque::new(),
        looked: None,
        is_over: false,
        _room: room,
    };
    let events = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            self.wait().await;
            self.looked = Some(self.app.services.context.now());
            match self.app.services.store.execution(self.ex_id).await {
                Ok(Some(execution)) => self.look(execution),
                Ok(None) => self.is_over = true,
                Err(error) => {
                    tracing::warn!(ex_id = %self.ex_id, %error, "execution not read for its listener")
                }
            }
        }
    }

    /// Waits until something may have changed, and the last look is long enough ago.
    async fn wait(&mut self) {
        let Some(looked) = self.looked else { return };
        let latest = looked + LOOK_AT_LATEST;
        tokio::select! {
            () = changed(self.view.as_mut()) => {}
            () = changed(Some(&mut self.reported)) => {}
            () = sleep_until(latest) => return,
        }
        sleep_until(looked + LOOK_EVERY).await;
        if let Some(view) = &mut self.view {
            view.mark_unchanged();
        }
        self.reported.mark_unchanged();
    }

    fn look(&mut self, execution: Execution) {
        let Execution { ex_id, status, failure, stats: stored, .. } = execution;
        let event = StatusEvent { ex_id, status, failure };
        let stats = if status.is_terminal() { Some(stored) } else { self.reported.borrow().clone() };
        if self.status.as_ref() != Some(&event) {
            self.push(STATUS, &event);
            self.status = Some(event.clone());
        }
        if let Some(stats) = stats.filter(|stats| self.stats.as_ref() != Some(stats)) {
            self.push(PROGRESS, &ProgressEvent { ex_id, stats: stats.clone() });
            self.stats = Some(stats);
        }
        if status.is_terminal() {
            self.push(END, &event);
            self.is_over = true;
        }
    }

    fn push(&mut self, name: &str, data: &impl Serialize) {
        match Event::default().event(name).json_data(data) {
            Ok(event) => self.ready.push_back(event),
            Err(error) => tracing::warn!(%error, "event not written"),
        }
    }
}

/// Waits for a change; for ever where none can come any more.
async fn changed<T>(watched: Option<&mut watch::Receiver<T>>) {
    let is_changed = match watched {
        Some(watched) => watched.changed().await.is_ok(),
        None => false,
    };
    if !is_changed {
        std::future::pending::<()>().await;
    }
}
