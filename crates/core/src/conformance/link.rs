//! The laws of a link between a controller and its workers, one function each; every implementation runs all of them.

use std::{future::Future, time::Duration};

use futures::future::{BoxFuture, Either, ready, select};
use teraslice_model::{
    dead_letter::{DeadLetter, Encoding},
    id::{ExId, SliceId, WorkerId},
    slice::{Request, Slice},
    timestamp::Timestamp,
};
use tokio::time::timeout;

use crate::link::{
    ControllerLink, FromWorker, Lease, LinkClosed, LinkEvent, Outcome, Session, SliceResult, ToWorker,
    WorkerLink,
};

/// Everything has to happen within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of a link.
pub struct Ends {
    /// The controller's.
    pub controller: Box<dyn ControllerLink>,
    /// Connects one more worker.
    pub connect: Box<dyn Fn() -> Connecting + Send>,
}

/// A worker that is about to connect.
pub type Connecting = BoxFuture<'static, Result<Box<dyn WorkerLink>, LinkClosed>>;

/// Checks every law, each on a fresh link.
///
/// # Panics
///
/// When the link breaks a law.
pub async fn run(make: impl AsyncFn() -> Ends) {
    opens_before_anything_else(make().await).await;
    keeps_the_order_of_a_worker(make().await).await;
    keeps_the_order_of_the_controller(make().await).await;
    keeps_sessions_apart(make().await).await;
    closes_once_when_the_worker_goes(make().await).await;
    delivers_what_was_said_before_the_end(make().await).await;
    ends_the_session_that_the_controller_closes(make().await).await;
    ends_every_session_with_the_controller(make().await).await;
    ignores_what_is_sent_to_a_closed_session(make().await).await;
    never_makes_the_controller_wait(make().await).await;
    loses_nothing_when_a_wait_is_given_up(make().await).await;
    carries_large_messages(make().await).await;
}

async fn opens_before_anything_else(mut ends: Ends) {
    let mut worker = ends.dial().await;
    say(worker.as_mut(), hello("w")).await;
    let session = ends.opened().await;
    assert_eq!(ends.event().await, LinkEvent::Message { session, message: hello("w") });
}

async fn keeps_the_order_of_a_worker(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    for n in 0..100 {
        say(worker.as_mut(), FromWorker::Credit(n)).await;
    }
    for n in 0..100 {
        assert_eq!(ends.event().await, LinkEvent::Message { session, message: FromWorker::Credit(n) });
    }
}

async fn keeps_the_order_of_the_controller(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    for n in 0..100 {
        ends.controller.send(session, leases(n..n + 2));
    }
    ends.controller.send(session, ToWorker::Drain);
    for n in 0..100 {
        assert_eq!(hear(worker.as_mut()).await, Some(leases(n..n + 2)));
    }
    assert_eq!(hear(worker.as_mut()).await, Some(ToWorker::Drain));
}

async fn keeps_sessions_apart(mut ends: Ends) {
    let (mut one, first) = ends.pair().await;
    let (mut two, second) = ends.pair().await;
    assert_ne!(first, second);
    ends.controller.send(second, leases(2..3));
    ends.controller.send(first, leases(1..2));
    assert_eq!(hear(one.as_mut()).await, Some(leases(1..2)));
    assert_eq!(hear(two.as_mut()).await, Some(leases(2..3)));
    drop(one);
    assert!(matches!(ends.event().await, LinkEvent::Closed { session, .. } if session == first));
    say(two.as_mut(), FromWorker::Heartbeat).await;
    let heard = ends.event().await;
    assert_eq!(heard, LinkEvent::Message { session: second, message: FromWorker::Heartbeat });
}

async fn closes_once_when_the_worker_goes(mut ends: Ends) {
    let (worker, session) = ends.pair().await;
    drop(worker);
    assert!(matches!(ends.event().await, LinkEvent::Closed { session: closed, .. } if closed == session));
    let (_other, next) = ends.pair().await;
    assert_ne!(session, next, "a session is never used again");
}

async fn delivers_what_was_said_before_the_end(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    say(worker.as_mut(), FromWorker::Credit(1)).await;
    say(worker.as_mut(), FromWorker::Goodbye).await;
    drop(worker);
    for message in [FromWorker::Credit(1), FromWorker::Goodbye] {
        assert_eq!(ends.event().await, LinkEvent::Message { session, message });
    }
    assert!(matches!(ends.event().await, LinkEvent::Closed { session: closed, .. } if closed == session));
}

async fn ends_the_session_that_the_controller_closes(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    ends.controller.send(session, ToWorker::Finished);
    ends.controller.close(session);
    assert_eq!(hear(worker.as_mut()).await, Some(ToWorker::Finished));
    assert_eq!(hear(worker.as_mut()).await, None);
    say_until_closed(worker.as_mut()).await;
    drop(worker);
    // Nothing of the session comes any more: the next event is of another one.
    let (_other, next) = ends.pair().await;
    assert_ne!(session, next);
}

async fn ends_every_session_with_the_controller(mut ends: Ends) {
    let (mut worker, _) = ends.pair().await;
    drop(ends.controller);
    assert_eq!(hear(worker.as_mut()).await, None);
    say_until_closed(worker.as_mut()).await;
}

async fn ignores_what_is_sent_to_a_closed_session(mut ends: Ends) {
    let (worker, session) = ends.pair().await;
    drop(worker);
    assert!(matches!(ends.event().await, LinkEvent::Closed { .. }));
    ends.controller.send(session, ToWorker::Drain);
    ends.controller.close(session);
    let (mut other, next) = ends.pair().await;
    ends.controller.send(next, ToWorker::Finished);
    assert_eq!(hear(other.as_mut()).await, Some(ToWorker::Finished));
}

async fn never_makes_the_controller_wait(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    // Nobody reads meanwhile; an end that waited would hang here for ever.
    for n in 0..10_000 {
        ends.controller.send(session, leases(n..n + 1));
    }
    for n in 0..10_000 {
        assert_eq!(hear(worker.as_mut()).await, Some(leases(n..n + 1)));
    }
}

async fn loses_nothing_when_a_wait_is_given_up(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    for n in 0..100 {
        // Waits are begun and given up before, while and after the message is under way.
        give_up(worker.recv()).await;
        ends.controller.send(session, leases(n..n + 1));
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let message = match given_up(worker.recv()).await {
            Some(heard) => heard,
            None => hear(worker.as_mut()).await,
        };
        assert_eq!(message, Some(leases(n..n + 1)));
    }
    for n in 0..100 {
        give_up(ends.controller.next()).await;
        say(worker.as_mut(), FromWorker::Credit(n)).await;
        let event = match given_up(ends.controller.next()).await {
            Some(event) => event,
            None => Some(ends.event().await),
        };
        assert_eq!(event, Some(LinkEvent::Message { session, message: FromWorker::Credit(n) }));
    }
}

async fn carries_large_messages(mut ends: Ends) {
    let (mut worker, session) = ends.pair().await;
    let letter = |n: u32| DeadLetter {
        slice_id: slice(1).id,
        operation: n,
        op: "filter".to_owned(),
        reason: "refused, \"quoted\", with\nlines and \u{1f980}".to_owned(),
        record: "x".repeat(1_000),
        encoding: Encoding::Text,
        metadata: Some("{\"_key\":\"a\"}".to_owned()),
    };
    let result = SliceResult {
        slice_id: slice(1).id,
        attempt: 3,
        outcome: Outcome::Failed { error: "no\nluck".to_owned() },
        retry_count: 2,
        operations: Vec::new(),
        dead_letters: (0..4_000).map(letter).collect(),
    };
    let message = FromWorker::Results(vec![result]);
    // Sent and received at the same time: the message may be larger than what fits in between.
    let (sent, event) = futures::future::join(worker.send(message.clone()), ends.event()).await;
    assert_eq!(sent, Ok(()));
    assert_eq!(event, LinkEvent::Message { session, message });
}

impl Ends {
    async fn dial(&self) -> Box<dyn WorkerLink> {
        in_time((self.connect)()).await.expect("the controller is there")
    }

    async fn pair(&mut self) -> (Box<dyn WorkerLink>, Session) {
        let mut worker = self.dial().await;
        say(worker.as_mut(), hello("w")).await;
        let session = self.opened().await;
        assert_eq!(self.event().await, LinkEvent::Message { session, message: hello("w") });
        (worker, session)
    }

    async fn opened(&mut self) -> Session {
        match self.event().await {
            LinkEvent::Opened { session } => session,
            other => panic!("expected a session to open: {other:?}"),
        }
    }

    async fn event(&mut self) -> LinkEvent {
        in_time(self.controller.next()).await.expect("workers can still connect")
    }
}

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("the link answers in time")
}

async fn say(worker: &mut dyn WorkerLink, message: FromWorker) {
    assert_eq!(in_time(worker.send(message)).await, Ok(()));
}

async fn hear(worker: &mut dyn WorkerLink) -> Option<ToWorker> {
    in_time(worker.recv()).await
}

/// A closed session may take a moment to be noticed by the one who speaks.
async fn say_until_closed(worker: &mut dyn WorkerLink) {
    let closed = async {
        while worker.send(FromWorker::Heartbeat).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    in_time(closed).await;
}

/// Begins to wait and gives up at once.
async fn give_up<T>(wait: impl Future<Output = T> + Unpin) {
    assert!(given_up(wait).await.is_none(), "nothing was to come");
}

async fn given_up<T>(wait: impl Future<Output = T> + Unpin) -> Option<T> {
    match select(wait, ready(())).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

fn hello(name: &str) -> FromWorker {
    FromWorker::Hello { worker: WorkerId::new(name) }
}

fn leases(numbers: std::ops::Range<u64>) -> ToWorker {
    ToWorker::Leases(numbers.map(|n| Lease { slice: slice(n), attempt: 1 }).collect())
}

fn slice(n: u64) -> Slice {
    let ex_id = ExId::from_random([9; 16]);
    Slice {
        id: SliceId::derive(ex_id, 0, n),
        slicer_id: 0,
        slicer_order: n,
        request: Request::from_json(format!("{{\"n\":{n}}}")),
        created: Timestamp::from_millis(1_700_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::link::channel::channel;

    #[tokio::test]
    async fn the_channel_link_keeps_every_law() {
        run(async || {
            let (controller, dialer) = channel();
            let connect = move || {
                let dialer = dialer.clone();
                let dial =
                    async move { dialer.connect().await.map(|end| Box::new(end) as Box<dyn WorkerLink>) };
                dial.boxed()
            };
            Ends { controller: Box::new(controller), connect: Box::new(connect) }
        })
        .await;
    }
}
