//! Executions: list, stop, pause, resume, scale, recover.

use std::time::Duration;

use teraslice_api::answer::{MessageAnswer, StatusAnswer};
use teraslice_core::store::{ErrorQuery, ErrorRecord, ExecutionQuery};
use teraslice_model::{execution::Execution, id::ExId, status::Status};

use super::{CLEANUP, DELETED, FILTER, FROM, SCALING, SIZE, SORT, STOPPING, jobs::answer_done};
use crate::{
    answer,
    app::App,
    documents,
    endpoint::{Answered, Call, Content, Endpoint, Kind, Param},
    executions::Scaling,
    params::Params,
    recovery,
    refusal::Refusal,
};

const STATUS: Param = Param {
    name: "status",
    kind: Kind::Text,
    about: "Statuses, with commas between them; `*`: all (default).",
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (status, controller) = (Content::Json("Status"), Content::List("ControllerState"));
    let errors = Content::List("SliceError");
    vec![
        Endpoint::get("/ex", list)
            .summary("Lists executions; a number that is none is answered 500")
            .params(&[STATUS, DELETED, FROM, SIZE, SORT, FILTER])
            .gives(Content::List("Execution"))
            .refuses(&[400, 500]),
        Endpoint::get("/ex/errors", all_errors)
            .summary("Lists slices that were given up, of all executions that are not deleted")
            .params(&[FROM, SIZE, SORT, FILTER])
            .gives(errors)
            .refuses(&[400, 500]),
        Endpoint::get("/ex/{id}", show)
            .summary("Shows an execution")
            .gives(Content::Json("Execution"))
            .refuses(&[404]),
        Endpoint::get("/ex/{id}/errors", errors_of)
            .summary("Lists slices that an execution has given up")
            .params(&[FROM, SIZE, SORT, FILTER])
            .gives(errors)
            .refuses(&[400, 404, 500]),
        Endpoint::get("/ex/{id}/controller", controller_of)
            .summary("Shows the connected controller of an execution")
            .gives(controller)
            .refuses(&[404]),
        Endpoint::get("/ex/{id}/slicer", controller_of)
            .summary("Shows the connected controller of an execution")
            .gives(controller)
            .refuses(&[404]),
        Endpoint::post("/ex/{id}/_stop", stop)
            .summary("Ends an execution for good")
            .params(&STOPPING)
            .gives(status)
            .refuses(&[400, 404, 409]),
        Endpoint::post("/ex/{id}/_pause", pause)
            .summary("Holds slices back; 500 if the controller is not connected")
            .gives(status)
            .refuses(&[404, 500]),
        Endpoint::post("/ex/{id}/_resume", resume)
            .summary("Lets slices go on; 500 if the controller is not connected")
            .gives(status)
            .refuses(&[404, 500]),
        Endpoint::post("/ex/{id}/_workers", scale)
            .summary("Changes the number of workers")
            .params(&SCALING)
            .gives(Content::Json("Message"))
            .refuses(&[400, 404]),
        Endpoint::post("/ex/{id}/_recover", recover)
            .summary("Goes on from an execution, with the job that it had")
            .params(&CLEANUP)
            .gives(Content::Json("Submitted"))
            .refuses(&[400, 404, 409, 410, 422, 500]),
    ]
}

async fn list(call: Call) -> Answered {
    let executions = listed(&call.app, &call.params).await?;
    let documents: Vec<_> = executions.iter().map(documents::execution).collect();
    answer::json(&documents)
}

/// Lists executions as the parameters say.
pub(super) async fn listed(app: &App, params: &Params) -> Result<Vec<Execution>, Refusal> {
    let listing = params.listing(app.options.list_len_max, "_updated:desc")?;
    let words = params.list("status");
    let statuses: Vec<Status> = words.iter().filter_map(|word| Status::parse(word)).collect();
    if !words.is_empty() && statuses.is_empty() && !words.iter().any(|word| word == "*") {
        // Only statuses that no execution can have.
        return Ok(Vec::new());
    }
    let query = ExecutionQuery {
        job_id: None,
        statuses: if words.iter().any(|word| word == "*") { Vec::new() } else { statuses },
        is_deleted: Some(params.deleted()?),
        filter: listing.filter,
        sort: listing.sort,
        page: listing.page,
    };
    Ok(app.services.store.executions(query).await?)
}

async fn show(call: Call) -> Answered {
    answer::json(&documents::execution(&call.app.execution(call.id("execution")?).await?))
}

async fn all_errors(call: Call) -> Answered {
    list_errors(&call, None).await
}

async fn errors_of(call: Call) -> Answered {
    let ex_id = call.app.execution(call.id("execution")?).await?.ex_id;
    list_errors(&call, Some(ex_id)).await
}

pub(super) async fn list_errors(call: &Call, ex_id: Option<ExId>) -> Answered {
    let listing = call.params.listing(call.app.options.list_len_max, "_updated:desc")?;
    let query = ErrorQuery { ex_id, filter: listing.filter, sort: listing.sort, page: listing.page };
    let errors = call.app.services.store.errors(query).await?;
    let documents: Vec<_> = errors.iter().map(ErrorRecord::document).collect();
    answer::json(&documents)
}

async fn controller_of(call: Call) -> Answered {
    let ex_id = call.app.execution(call.id("execution")?).await?.ex_id;
    show_controller(&call, ex_id)
}

pub(super) fn show_controller(call: &Call, ex_id: ExId) -> Answered {
    let found = call.app.services.controllers.stats(ex_id);
    let found =
        found.ok_or_else(|| Refusal::not_found(format!("a connected controller of execution {ex_id}")))?;
    answer::json(&[found])
}

async fn stop(call: Call) -> Answered {
    let ex_id = call.id("execution")?;
    stop_one(&call, ex_id).await
}

pub(super) async fn stop_one(call: &Call, ex_id: ExId) -> Answered {
    let (app, params) = (&call.app, &call.params);
    let is_blocking = params.flag("blocking")?.unwrap_or(true);
    let is_forced = params.flag("force")?.unwrap_or(false);
    let longest = params.millis("timeout")?.unwrap_or(app.options.answer_max);
    let mut status = app.execution(ex_id).await?.status;
    if !status.is_terminal() {
        let wait = if is_blocking && !is_forced { longest } else { Duration::ZERO };
        let (after, changed) = app.stop(ex_id, wait).await?;
        app.note(&call.caller, changed).await?;
        status = after;
    }
    let message = is_forced.then(|| format!("Force stop of execution {ex_id} was asked for"));
    answer::json(&StatusAnswer { message, status: status.to_string() })
}

async fn pause(call: Call) -> Answered {
    let execution = call.app.running_execution(call.id("execution")?).await?;
    hold_one(&call, &execution, true).await
}

async fn resume(call: Call) -> Answered {
    let execution = call.app.running_execution(call.id("execution")?).await?;
    hold_one(&call, &execution, false).await
}

pub(super) async fn hold_one(call: &Call, execution: &Execution, is_held: bool) -> Answered {
    let (status, changed) = call.app.hold(execution, is_held).await?;
    call.app.note(&call.caller, changed).await?;
    answer::json(&StatusAnswer { message: None, status: status.to_string() })
}

async fn scale(call: Call) -> Answered {
    let ex_id = call.id("execution")?;
    scale_one(&call, ex_id).await
}

pub(super) async fn scale_one(call: &Call, ex_id: ExId) -> Answered {
    let scaling = Scaling::read(&call.params)?;
    let (message, changed) = call.app.scale(ex_id, scaling).await?;
    call.app.note(&call.caller, changed).await?;
    answer::json(&MessageAnswer { message })
}

async fn recover(call: Call) -> Answered {
    let cleanup = recovery::cleanup(&call.params)?;
    let done = call.app.recover_execution(call.id("execution")?, cleanup).await?;
    answer_done(&call, done).await
}
