//! The cluster: who the master is, its nodes, its controllers, its health.

use std::cmp::Reverse;

use axum::http::StatusCode;
use serde_json::json;
use teraslice_api::cluster::{ClusterStats, ControllerState};

use crate::{
    answer,
    app::App,
    endpoint::{Answered, At, Call, Content, Endpoint},
    refusal::Refusal,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let controllers = Content::List("ControllerState");
    vec![
        Endpoint::get("/", info).summary("Says who the master is").gives(Content::Json("ClusterInfo")),
        Endpoint::get("/cluster/state", state)
            .summary("Lists nodes and what runs on them")
            .gives(Content::Json("ClusterState")),
        Endpoint::get("/cluster/stats", stats)
            .summary("Adds up the statistics of all executions")
            .gives(Content::Json("ClusterStats")),
        Endpoint::get("/cluster/controllers", controllers_list)
            .summary("Lists the controllers that are connected")
            .gives(controllers),
        Endpoint::get("/cluster/slicers", controllers_list)
            .summary("Lists the controllers that are connected")
            .gives(controllers),
        Endpoint::get("/metrics", metrics)
            .at(At::Plain)
            .summary("Metrics for Prometheus")
            .gives(Content::Metrics),
        Endpoint::get("/health/live", live)
            .at(At::Versioned)
            .summary("Says that the master answers")
            .gives(Content::Json("Health")),
        Endpoint::get("/health/ready", ready)
            .at(At::Versioned)
            .summary("Says whether the master takes jobs")
            .gives(Content::Json("Health")),
    ]
}

async fn info(call: Call) -> Answered {
    answer::json(&call.app.options.info)
}

async fn state(call: Call) -> Answered {
    answer::json(&call.app.services.nodes.state())
}

async fn stats(call: Call) -> Answered {
    let sums = call.app.services.controllers.totals();
    answer::json(&ClusterStats { controllers: sums, slicer: sums })
}

async fn controllers_list(call: Call) -> Answered {
    answer::json(&controllers(&call.app))
}

/// Returns the controllers that are connected: by name, then by start, the last first.
pub(super) fn controllers(app: &App) -> Vec<ControllerState> {
    let mut all = app.services.controllers.all();
    all.sort_by_cached_key(|it| Reverse((it.name.clone(), it.stats.started)));
    all
}

async fn metrics(call: Call) -> Answered {
    call.app.metrics().await.map(answer::metrics)
}

async fn live(_: Call) -> Answered {
    answer::json(&json!({"status": "live"}))
}

async fn ready(call: Call) -> Answered {
    if !call.app.services.readiness.is_ready() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the master is not ready"));
    }
    let mut health = json!({"status": "ready"});
    // The API works without it: what runs goes on, and what is wanted is remembered.
    if let Some(trouble) = call.app.services.nodes.trouble() {
        health["backend"] = json!({"status": "degraded", "reason": trouble.reason, "since": trouble.since});
    }
    answer::json(&health)
}
