//! Controllers: attached, followed, commanded, counted.

use std::{sync::Arc, time::Duration};

use teraslice_core::{
    control::{ControlCommand, ControlSession, FromController, Hello, ToController},
    store::StateStore,
};
use teraslice_model::{execution::Stats, id::Epoch, status::Status};
use teraslice_server::controllers::ControlError;
use tokio::sync::mpsc;

use crate::support::{Stage, busy, job};

#[tokio::test(start_paused = true)]
async fn shows_where_a_controller_listens() {
    let stage = Stage::new().await;
    let (_, ex_id, puppet) = stage.running_job(&job()).await;
    let shown = stage.get(&format!("/ex/{ex_id}")).await.ok();
    assert_eq!(
        (shown["slicer_hostname"].as_str(), shown["slicer_port"].as_u64()),
        (Some("node-1"), Some(45_680))
    );
    let located = stage.controllers.located(ex_id);
    let hello = puppet.hello.clone();
    drop(puppet);
    stage.until(async || stage.controllers.stats(ex_id).is_none()).await;
    assert_eq!(*located.borrow(), Some(hello), "the last place is kept while it is away");
    stage.get(&format!("/ex/{ex_id}/controller")).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn follows_the_latest_controller_and_refuses_an_earlier_one() {
    let stage = Stage::new().await;
    let (_, ex_id, first) = stage.running_job(&job()).await;
    let second = stage.puppet(ex_id).await;
    assert!(second.hello.epoch > first.hello.epoch);
    let (says, from) = mpsc::channel(4);
    let (to, mut told) = mpsc::channel(4);
    stage.controllers.attach(ex_id, ControlSession { from, to });
    let late = Hello { epoch: Epoch(0), ..first.hello.clone() };
    says.send(FromController::Hello(late)).await.unwrap();
    assert_eq!(told.recv().await, None, "its session is ended");
    assert_eq!(stage.controllers.located(ex_id).borrow().as_ref(), Some(&second.hello));
    stage.until(async || first.says.is_closed()).await;
    assert_eq!(stage.controllers.command(ex_id, ControlCommand::Pause).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn hands_the_level_of_logs_on_to_the_next_controller() {
    let stage = Stage::new().await;
    let (_, ex_id, first) = stage.running_job(&job()).await;
    let told_to = Hello { log_level: Some("debug".to_owned()), ..first.hello.clone() };
    first.says.send(FromController::Hello(told_to.clone())).await.unwrap();
    let located = stage.controllers.located(ex_id);
    stage.until(async || located.borrow().as_ref() == Some(&told_to)).await;
    let epoch = stage.store.begin_epoch(ex_id, first.hello.generation).await.unwrap();
    let (says, from) = mpsc::channel(4);
    let (to, mut told) = mpsc::channel(4);
    stage.controllers.attach(ex_id, ControlSession { from, to });
    says.send(FromController::Hello(Hello { epoch, ..first.hello.clone() })).await.unwrap();
    let command = ControlCommand::LogLevel("debug".to_owned());
    assert_eq!(told.recv().await, Some(ToController::Command { number: 0, command }));
    assert_eq!(*located.borrow(), Some(Hello { epoch, ..told_to }), "workers keep their level");
}

#[tokio::test(start_paused = true)]
async fn gives_up_on_a_controller_that_is_silent() {
    let stage = Stage::new().await;
    let (_, ex_id) = stage.started_job(&job()).await;
    let (says, from) = mpsc::channel(4);
    let (to, _told) = mpsc::channel(4);
    stage.controllers.attach(ex_id, ControlSession { from, to });
    let execution = stage.execution(ex_id).await;
    let (generation, epoch) = (execution.generation, execution.epoch);
    let (host, log_level) = ("h".to_owned(), None);
    says.send(FromController::Hello(Hello { ex_id, generation, epoch, host, port: 1, log_level }))
        .await
        .unwrap();
    stage.until(async || stage.controllers.stats(ex_id).is_some()).await;
    let refused = stage.controllers.command(ex_id, ControlCommand::Stop).await;
    assert!(matches!(refused, Err(ControlError::Silent { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn keeps_a_command_for_a_controller_that_is_about_to_connect() {
    let stage = Stage::new().await;
    let (_, ex_id) = stage.started_job(&job()).await;
    let command = stage.controllers.command(ex_id, ControlCommand::Pause);
    let connect = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.puppet(ex_id).await
    };
    let (done, _puppet) = tokio::join!(command, connect);
    assert_eq!(done, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn refuses_a_command_for_a_controller_that_is_not_there() {
    let stage = Stage::new().await;
    let ex_id = stage.context.ex_id();
    let refused = stage.controllers.command(ex_id, ControlCommand::Stop).await;
    assert_eq!(refused, Err(ControlError::NotConnected { ex_id }));
}

#[tokio::test(start_paused = true)]
async fn stores_statistics_now_and_then() {
    let stage = Stage::new().await;
    let (_, ex_id, puppet) = stage.running_job(&job()).await;
    puppet.report(busy(&stage.context)).await;
    stage.until(async || stage.execution(ex_id).await.stats.processed == 50).await;
}

#[tokio::test(start_paused = true)]
async fn counts_everything_once_across_a_restart() {
    let stage = Stage::new().await;
    let (_, ex_id, puppet) = stage.running_job(&job()).await;
    puppet.report(Stats { processed: 40, ..busy(&stage.context) }).await;
    stage.until(async || stage.controllers.totals().processed == 40).await;
    stage.until(async || stage.execution(ex_id).await.stats.processed == 40).await;

    // The same store, another master; the controller comes back and goes on.
    let store: Arc<dyn StateStore> = Arc::clone(&stage.store);
    let next = Stage::over(stage.context.clone(), store, |_| ()).await;
    assert_eq!(next.controllers.totals().processed, 40);
    let puppet = next.puppet(ex_id).await;
    puppet.report(Stats { queued: 1, ..busy(&next.context) }).await;
    next.until(async || next.controllers.totals().processed == 50).await;
    let stats = next.get("/cluster/stats").await.ok();
    assert_eq!(stats["controllers"]["processed"], 50);
    assert_eq!(stats["slicer"]["queued"], 1);

    // Its last word is in the store.
    drop(puppet);
    next.end(ex_id, Status::Completed).await;
    next.until(async || next.controllers.totals().job_duration == 3).await;
    assert_eq!(next.controllers.totals().processed, 50);
}

#[tokio::test(start_paused = true)]
async fn lists_controllers_by_name_the_last_first() {
    let stage = Stage::new().await;
    let mut puppets = Vec::new();
    for name in ["a", "c", "b"] {
        let mut named = job();
        named["name"] = name.into();
        let (_, _, puppet) = stage.running_job(&named).await;
        puppet.report(busy(&stage.context)).await;
        puppets.push(puppet);
    }
    stage.until(async || stage.controllers.totals().processed == 150).await;
    for path in ["/cluster/controllers", "/v1/cluster/slicers"] {
        let listed = stage.get(path).await.ok();
        let names: Vec<_> =
            listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_where_the_controller_of_an_ended_execution_was() {
    let stage = Stage::new().await;
    let (_, ex_id) = stage.started_job(&job()).await;
    let (says, from) = mpsc::channel(4);
    let (to, _told) = mpsc::channel(4);
    stage.controllers.attach(ex_id, ControlSession { from, to });
    let execution = stage.execution(ex_id).await;
    let hello = Hello {
        ex_id,
        generation: execution.generation,
        epoch: execution.epoch,
        host: "h".to_owned(),
        port: 1,
        log_level: None,
    };
    let mut located = stage.controllers.located(ex_id);
    says.send(FromController::Hello(hello)).await.unwrap();
    // Workers find it only now: that they end the execution is later still.
    located.changed().await.unwrap();
    let stored = stage.execution(ex_id).await;
    assert_eq!((stored.slicer_hostname.as_deref(), stored.slicer_port), (Some("h"), Some(1)));
}
