//! Jobs: submit, list, change, delete, start, stop.

use serde_json::{Map, Value};
use teraslice_api::answer::{SettingsAnswer, Submitted};
use teraslice_core::store::JobQuery;
use teraslice_model::{execution::Execution, id::JobId};

use super::{ACTIVE, CLEANUP, DELETED, EX, FILTER, FROM, SCALING, SIZE, SORT, STOPPING, executions};
use crate::{
    answer,
    app::App,
    documents::{self, field},
    endpoint::{Answered, Call, Content, Endpoint, Kind, Param, Taken},
    executions::check_level,
    jobs::{Done, shown, warnings_shown},
    params::Params,
    recovery,
    refusal::Refusal,
};

const START: Param =
    Param { name: "start", kind: Kind::Text, about: "`false`: only store the job; anything else starts it." };
const LEVEL: Param = Param {
    name: "log_level",
    kind: Kind::OneOf(&["trace", "debug", "info", "warn", "error", "fatal", ""]),
    about: "The level; it may be in the body instead.",
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let job = Content::Json("Job");
    let submitted = Content::Json("Submitted");
    let mut endpoints = vec![
        Endpoint::post("/jobs", submit)
            .summary("Stores a job and starts it; a job that is wrong is answered 500")
            .params(&[START])
            .body(Taken::NeededJson("JobBody"))
            .gives(submitted)
            .refuses(&[400, 413, 415, 422, 500]),
        Endpoint::get("/jobs", list)
            .summary("Lists jobs; a number that is none is answered 500")
            .params(&[ACTIVE, DELETED, FROM, SIZE, SORT, FILTER, EX])
            .gives(Content::List("Job"))
            .refuses(&[400, 500]),
        Endpoint::get("/jobs/{id}", show).summary("Shows a job").params(&[EX]).gives(job).refuses(&[404]),
        Endpoint::put("/jobs/{id}", update)
            .summary("Replaces a job; one that is wrong is answered 500")
            .body(Taken::NeededJson("JobBody"))
            .gives(job)
            .refuses(&[400, 404, 410, 413, 415, 500]),
        Endpoint::delete("/jobs/{id}", delete)
            .summary("Deletes a job and its executions; the records stay")
            .gives(job)
            .refuses(&[404, 409, 410]),
        Endpoint::post("/jobs/{id}/_start", start)
            .summary("Starts a job; one that is wrong is answered 500")
            .gives(submitted)
            .refuses(&[404, 409, 410, 422, 500]),
        Endpoint::post("/jobs/{id}/_recover", recover)
            .summary("Goes on from the last execution, with the job as it is now")
            .params(&CLEANUP)
            .gives(submitted)
            .refuses(&[400, 404, 409, 410, 422, 500]),
        Endpoint::post("/jobs/{id}/_active", activate)
            .summary("Marks a job as active; use PUT")
            .gives(job)
            .refuses(&[404, 410]),
        Endpoint::post("/jobs/{id}/_inactive", deactivate)
            .summary("Marks a job as inactive; use PUT")
            .gives(job)
            .refuses(&[404, 410]),
        Endpoint::get("/jobs/{id}/ex", latest)
            .summary("Shows the latest execution of a job")
            .gives(Content::Json("Execution"))
            .refuses(&[404]),
        Endpoint::get("/jobs/{id}/errors", errors)
            .summary("Lists slices that the latest execution has given up")
            .params(&[FROM, SIZE, SORT, FILTER])
            .gives(Content::List("SliceError"))
            .refuses(&[400, 404, 500]),
    ];
    endpoints.extend(command_endpoints());
    endpoints
}

fn command_endpoints() -> Vec<Endpoint> {
    let (status, controller) = (Content::Json("Status"), Content::List("ControllerState"));
    vec![
        Endpoint::post("/jobs/{id}/_stop", stop)
            .summary("Ends the latest execution of a job for good")
            .params(&STOPPING)
            .gives(status)
            .refuses(&[400, 404, 409]),
        Endpoint::post("/jobs/{id}/_pause", pause)
            .summary("Holds slices back; 500 if the controller is not connected")
            .gives(status)
            .refuses(&[404, 500]),
        Endpoint::post("/jobs/{id}/_resume", resume)
            .summary("Lets slices go on; 500 if the controller is not connected")
            .gives(status)
            .refuses(&[404, 500]),
        Endpoint::post("/jobs/{id}/_workers", scale)
            .summary("Changes the number of workers")
            .params(&SCALING)
            .gives(Content::Json("Message"))
            .refuses(&[400, 404]),
        Endpoint::post("/jobs/{id}/_settings", settings)
            .summary("Sets the log level of the running execution")
            .params(&[LEVEL])
            .body(Taken::Json("Settings"))
            .gives(Content::Json("SettingsAnswer"))
            .refuses(&[400, 404, 413, 415, 500]),
        Endpoint::get("/jobs/{id}/controller", controllers)
            .summary("Shows the connected controller of the latest execution")
            .gives(controller)
            .refuses(&[404]),
        Endpoint::get("/jobs/{id}/slicer", controllers)
            .summary("Shows the connected controller of the latest execution")
            .gives(controller)
            .refuses(&[404]),
    ]
}

async fn submit(mut call: Call) -> Answered {
    let starts = call.params.get("start") != Some("false");
    let job = call.object().await?.filter(|job| job.contains_key("operations"));
    let job = job.ok_or_else(|| Refusal::bad("No job was posted"))?;
    let done = call.app.submit_job(job, starts).await?;
    answer_done(&call, done).await
}

/// Takes down what was started, and answers with it.
pub(super) async fn answer_done(call: &Call, done: Done) -> Answered {
    let Done { job_id, ex_id, warnings, changed } = done;
    call.app.note(&call.caller, changed).await?;
    answer::json(&Submitted { job_id, ex_id, warnings: warnings_shown(&warnings) })
}

async fn list(call: Call) -> Answered {
    let jobs = listed(&call.app, &call.params).await?;
    answer::json(&jobs)
}

/// Lists jobs as the parameters say.
pub(super) async fn listed(app: &App, params: &Params) -> Result<Vec<Map<String, Value>>, Refusal> {
    let listing = params.listing(app.options.list_len_max, "_updated:desc")?;
    let query = JobQuery {
        is_deleted: Some(params.deleted()?),
        is_active: params.active(),
        filter: listing.filter,
        sort: listing.sort,
        page: listing.page,
    };
    let fields = params.list("ex");
    let mut jobs = Vec::new();
    for record in app.services.store.jobs(query).await? {
        let mut document = record.document();
        add_execution(app, record.job_id, &fields, &mut document).await?;
        jobs.push(document);
    }
    Ok(jobs)
}

/// Adds fields of the latest execution to a job; none if it is deleted.
async fn add_execution(
    app: &App,
    job_id: JobId,
    fields: &[String],
    document: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    if fields.is_empty() {
        return Ok(());
    }
    let latest = app.latest_execution(job_id).await?.filter(|execution| execution.deleted.is_none());
    let mut ex = Map::new();
    if let Some(latest) = latest.as_ref().map(documents::execution) {
        for name in fields {
            if let Some(value) = field(&latest, name) {
                ex.insert(name.clone(), value.clone());
            }
        }
    }
    document.insert("ex".to_owned(), ex.into());
    Ok(())
}

async fn show(call: Call) -> Answered {
    let job_id = call.id("job")?;
    let mut document = call.app.job(job_id).await?.document();
    add_execution(&call.app, job_id, &call.params.list("ex"), &mut document).await?;
    answer::json(&document)
}

async fn update(mut call: Call) -> Answered {
    let job = call.object().await?.filter(|job| !job.is_empty());
    let job_id = call.id("job")?;
    let job = job.ok_or_else(|| Refusal::bad(format!("No data was provided to update job {job_id}")))?;
    let (record, warnings, changed) = call.app.update_job(job_id, job).await?;
    call.app.note(&call.caller, changed).await?;
    answer::json(&shown(&record, &warnings))
}

async fn delete(call: Call) -> Answered {
    let (record, changed) = call.app.delete_job(call.id("job")?).await?;
    call.app.note(&call.caller, changed).await?;
    answer::json(&record.document())
}

async fn start(call: Call) -> Answered {
    let done = call.app.start_job(call.id("job")?).await?;
    answer_done(&call, done).await
}

async fn recover(call: Call) -> Answered {
    let cleanup = recovery::cleanup(&call.params)?;
    let done = call.app.recover_job(call.id("job")?, cleanup).await?;
    answer_done(&call, done).await
}

async fn activate(call: Call) -> Answered {
    mark(call, true).await
}

async fn deactivate(call: Call) -> Answered {
    mark(call, false).await
}

async fn mark(call: Call, is_active: bool) -> Answered {
    let (record, changed) = call.app.mark_job(call.id("job")?, is_active).await?;
    call.app.note(&call.caller, changed).await?;
    answer::json(&record.document())
}

async fn latest(call: Call) -> Answered {
    answer::json(&documents::execution(&latest_of(&call).await?))
}

async fn errors(call: Call) -> Answered {
    let ex_id = latest_of(&call).await?.ex_id;
    executions::list_errors(&call, Some(ex_id)).await
}

async fn controllers(call: Call) -> Answered {
    let ex_id = latest_of(&call).await?.ex_id;
    executions::show_controller(&call, ex_id)
}

async fn stop(call: Call) -> Answered {
    let execution = latest_of(&call).await?;
    executions::stop_one(&call, execution.ex_id).await
}

async fn pause(call: Call) -> Answered {
    let execution = active_of(&call).await?;
    executions::hold_one(&call, &execution, true).await
}

async fn resume(call: Call) -> Answered {
    let execution = active_of(&call).await?;
    executions::hold_one(&call, &execution, false).await
}

async fn scale(call: Call) -> Answered {
    let ex_id = active_of(&call).await?.ex_id;
    executions::scale_one(&call, ex_id).await
}

async fn settings(mut call: Call) -> Answered {
    let body = call.object().await?;
    let in_body = body.as_ref().and_then(|body| body.get("log_level")?.as_str());
    let level = check_level(call.params.get("log_level").or(in_body))?.to_owned();
    let ex_id = active_of(&call).await?.ex_id;
    let changed = call.app.set_log_level(ex_id, &level).await?;
    call.app.note(&call.caller, changed).await?;
    answer::json(&SettingsAnswer { ex_id, level })
}

async fn latest_of(call: &Call) -> Result<Execution, Refusal> {
    let job_id: JobId = call.id("job")?;
    call.app.job(job_id).await?;
    let latest = call.app.latest_execution(job_id).await?;
    latest.ok_or_else(|| Refusal::not_found(format!("an execution of job {job_id}")))
}

async fn active_of(call: &Call) -> Result<Execution, Refusal> {
    let job_id: JobId = call.id("job")?;
    call.app.job(job_id).await?;
    let active = call.app.active_execution(job_id).await?;
    active.ok_or_else(|| Refusal::not_found(format!("an active execution of job {job_id}")))
}
