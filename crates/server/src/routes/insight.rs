//! What goes on inside an execution: its slices, dead letters, events, and what is in its way.

use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use teraslice_api::answer::{ReplayAnswer, ReplayRequest};
use teraslice_core::store::{Letters, SliceRecord};
use teraslice_model::{id::ExId, slice::SliceState};

use super::{FROM, SIZE};
use crate::{
    answer,
    documents::object,
    endpoint::{Answered, At, Call, Content, Endpoint, Kind, Param, Taken},
    events,
    refusal::Refusal,
};

const STATE: Param = Param {
    name: "state",
    kind: Kind::OneOf(&["pending", "completed", "error", ""]),
    about: "Only slices in this state (default pending: made, not finished).",
};
const WHICH: Param = Param {
    name: "which",
    kind: Kind::OneOf(&["all", "open", ""]),
    about: "`open`: only letters that no execution replays (default all).",
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let all = vec![
        Endpoint::get("/ex/{id}/slices", slices)
            .summary("Lists slices of an execution by slicer and order")
            .params(&[STATE, FROM, SIZE])
            .gives(Content::List("Slice"))
            .refuses(&[400, 404]),
        Endpoint::get("/ex/{id}/dead_letters", dead_letters)
            .summary("Lists refused records that were kept")
            .params(&[WHICH, FROM, SIZE])
            .gives(Content::List("DeadLetter"))
            .refuses(&[400, 404]),
        Endpoint::post("/ex/{id}/dead_letters/_replay", replay)
            .summary("Runs dead letters through their job again, in new executions; a job that cannot is answered 500")
            .body(Taken::Json("ReplayRequest"))
            .gives(Content::Json("ReplayAnswer"))
            .refuses(&[400, 404, 413, 415, 422, 500]),
        Endpoint::get("/ex/{id}/explain", explain)
            .summary("Says what is in the way of an execution")
            .gives(Content::Json("Explanation"))
            .refuses(&[404]),
        Endpoint::get("/ex/{id}/events", events_of)
            .summary("Streams the status and the progress of an execution until it ends")
            .gives(Content::Events)
            .refuses(&[404]),
    ];
    all.into_iter().map(|endpoint| endpoint.at(At::Versioned)).collect()
}

async fn slices(call: Call) -> Answered {
    let state = match call.params.get("state") {
        None | Some("pending") => SliceState::Pending,
        Some("completed") => SliceState::Completed,
        Some("error") => SliceState::Error,
        Some(other) => {
            let message = format!("state must be one of pending, completed, error, found {other:?}");
            return Err(Refusal::bad(message));
        }
    };
    let ex_id = call.app.execution(call.id("execution")?).await?.ex_id;
    let page = call.params.page(call.app.options.list_len_max)?;
    let slices = call.app.services.store.slices(ex_id, state, page).await?;
    let shown: Vec<_> = slices.iter().map(|slice| slice_shown(ex_id, slice)).collect();
    answer::json(&shown)
}

fn slice_shown(ex_id: ExId, slice: &SliceRecord) -> Map<String, Value> {
    let mut shown = object(json!(slice));
    shown.insert("ex_id".to_owned(), json!(ex_id));
    shown
}

async fn dead_letters(call: Call) -> Answered {
    let which = match call.params.get("which") {
        None | Some("all") => Letters::All,
        Some("open") => Letters::Open,
        Some(other) => return Err(Refusal::bad(format!("which must be all or open, found {other:?}"))),
    };
    let ex_id = call.app.execution(call.id("execution")?).await?.ex_id;
    let page = call.params.page(call.app.options.list_len_max)?;
    answer::json(&call.app.services.store.dead_letters(ex_id, which, page).await?)
}

async fn replay(mut call: Call) -> Answered {
    let wanted: ReplayRequest = call.shaped().await?.unwrap_or_default();
    let ex_id: ExId = call.id("execution")?;
    let replays = call.app.replay(ex_id, &wanted).await?;
    if !replays.is_empty() {
        call.note(ex_id, Value::Null, json!({"replays": replays})).await?;
    }
    answer::json(&ReplayAnswer { replays })
}

async fn explain(call: Call) -> Answered {
    answer::json(&call.app.explain(call.id("execution")?).await?)
}

async fn events_of(call: Call) -> Answered {
    let ex_id = call.id("execution")?;
    Ok(events::stream(call.app, ex_id).await?.into_response())
}
