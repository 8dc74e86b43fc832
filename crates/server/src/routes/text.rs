//! Text tables of jobs, executions, workers, nodes, controllers and assets.

use serde_json::{Map, Value, json};

use super::{ACTIVE, DELETED, FILTER, FROM, SIZE, SORT, assets, cluster, executions, jobs};
use crate::{
    answer,
    documents::{self, field, object},
    endpoint::{Answered, At, Call, Content, Endpoint, Kind, Param},
    params::Params,
    refusal::Refusal,
    table::Table,
};

/// What is shown where a record has nothing.
const MISSING: &str = "N/A";
/// Characters of an asset's description that are shown.
const DESCRIPTION_LEN: usize = 30;
const FIELDS: Param =
    Param { name: "fields", kind: Kind::Text, about: "Columns, with commas between them; paths are dotted." };
const HEADERS: Param = Param { name: "headers", kind: Kind::Text, about: "`false`: only rows." };

const JOBS: &[&str] =
    &["job_id", "name", "active", "lifecycle", "slicers", "workers", "_created", "_updated"];
const EXECUTIONS: &[&str] =
    &["name", "lifecycle", "slicers", "workers", "_status", "ex_id", "job_id", "_created", "_updated"];
const NODES: &[&str] =
    &["node_id", "state", "hostname", "total", "active", "pid", "teraslice_version", "node_version"];
const WORKERS: &[&str] = &["assignment", "job_id", "ex_id", "node_id", "pid"];
const PODS: &[&str] = &["assignment", "job_id", "ex_id", "node_id", "pod_name", "image"];
const CONTROLLERS: &[&str] =
    &["name", "job_id", "workers_available", "workers_active", "failed", "queued", "processed"];
const ASSETS: &[&str] =
    &["name", "version", "id", "_created", "description", "node_version", "platform", "arch"];

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (shape, paging) = ([FIELDS, HEADERS], [FROM, SIZE]);
    let endpoint =
        |endpoint: Endpoint| endpoint.at(At::Plain).gives(Content::Text).params(&shape).params(&paging);
    vec![
        endpoint(Endpoint::get("/txt/jobs", show_jobs))
            .summary("Lists jobs as a text table; a number that is none is answered 500")
            .params(&[ACTIVE, DELETED, SORT, FILTER])
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/ex", show_executions))
            .summary("Lists executions as a text table; a number that is none is answered 500")
            .params(&[
                DELETED,
                SORT,
                FILTER,
                Param { name: "status", kind: Kind::Text, about: "As for /ex." },
            ])
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/workers", show_workers))
            .summary("Lists processes as a text table; a number that is none is answered 500")
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/nodes", show_nodes))
            .summary("Lists nodes as a text table; a number that is none is answered 500")
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/controllers", show_controllers))
            .summary("Lists controllers as a text table; a number that is none is answered 500")
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/slicers", show_controllers))
            .summary("Lists controllers as a text table; a number that is none is answered 500")
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/assets", show_assets))
            .summary("Lists assets as a text table; a number that is none is answered 500")
            .params(&[SORT])
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/assets/{id}", show_assets))
            .summary("Lists the versions of an asset as a text table")
            .params(&[SORT])
            .refuses(&[400, 500]),
        endpoint(Endpoint::get("/txt/assets/{id}/{version}", show_assets))
            .summary("Lists assets by name and version as a text table")
            .params(&[SORT])
            .refuses(&[400, 500]),
    ]
}

async fn show_jobs(call: Call) -> Answered {
    let rows = jobs::listed(&call.app, &call.params).await?;
    Ok(table(&call.params, &with_deleted(JOBS, &call.params)?, &rows, MISSING))
}

async fn show_executions(call: Call) -> Answered {
    let executions = executions::listed(&call.app, &call.params).await?;
    let rows: Vec<_> = executions.iter().map(documents::execution).collect();
    Ok(table(&call.params, &with_deleted(EXECUTIONS, &call.params)?, &rows, MISSING))
}

async fn show_workers(call: Call) -> Answered {
    let is_kubernetes = call.app.options.is_kubernetes();
    let mut rows = Vec::new();
    for (node_id, node) in call.app.services.nodes.state() {
        for process in node.active {
            let mut row = object(json!(process));
            row.insert("node_id".to_owned(), node_id.as_str().into());
            rows.push(row);
        }
    }
    paged(&call, if is_kubernetes { PODS } else { WORKERS }, rows)
}

async fn show_nodes(call: Call) -> Answered {
    let nodes = call.app.services.nodes.state();
    let rows = nodes.into_values().map(|node| {
        let mut row = object(json!(node));
        row.insert("active".to_owned(), node.active.len().into());
        row
    });
    let rows = rows.collect();
    paged(&call, NODES, rows)
}

async fn show_controllers(call: Call) -> Answered {
    let rows =
        cluster::controllers(&call.app).into_iter().map(|controller| object(json!(controller))).collect();
    paged(&call, CONTROLLERS, rows)
}

async fn show_assets(call: Call) -> Answered {
    let mut rows = assets::listed(&call.app, &call.params, call.path("id"), call.path("version")).await?;
    for row in &mut rows {
        if let Some(Value::String(description)) = row.get_mut("description") {
            *description = description.chars().take(DESCRIPTION_LEN).collect();
        }
    }
    Ok(table(&call.params, ASSETS, &rows, ""))
}

/// Shows the wanted part of a list that is not paged yet.
fn paged(call: &Call, columns: &[&str], rows: Vec<Map<String, Value>>) -> Answered {
    let page = call.params.page_of_original(call.app.options.list_len_max)?;
    let from = usize::try_from(page.from).unwrap_or(usize::MAX);
    let size = usize::try_from(page.size).unwrap_or(usize::MAX);
    let rows: Vec<_> = rows.into_iter().skip(from).take(size).collect();
    Ok(table(&call.params, columns, &rows, MISSING))
}

fn with_deleted<'a>(columns: &[&'a str], params: &Params) -> Result<Vec<&'a str>, Refusal> {
    let mut columns = columns.to_vec();
    if params.deleted()? {
        columns.push("_deleted_on");
    }
    Ok(columns)
}

fn table(
    params: &Params,
    columns: &[&str],
    rows: &[Map<String, Value>],
    missing: &str,
) -> axum::response::Response {
    let mut fields = params.list("fields");
    if fields.is_empty() {
        fields = columns.iter().map(|column| (*column).to_owned()).collect();
    }
    let cells = |row: &Map<String, Value>| {
        fields.iter().map(|name| cell(field(row, name), missing)).collect::<Vec<_>>()
    };
    let rows = rows.iter().map(cells).collect();
    answer::text(Table::new(fields.clone(), rows).render(params.get("headers") != Some("false")))
}

/// Writes a value without what would break the table.
fn cell(value: Option<&Value>, missing: &str) -> String {
    match value {
        None | Some(Value::Null) => missing.to_owned(),
        Some(Value::String(text)) => text.replace(['\n', '\r', '\t'], " "),
        Some(other) => other.to_string(),
    }
}
