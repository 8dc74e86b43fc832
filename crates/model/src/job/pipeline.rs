//! The check of a job's operations and of the APIs they share.

use serde_json::{Map, Value, json};

use super::{
    ApiConfig, Encoding, OperationConfig,
    check::{CheckEnvironment, deprecate},
    fields::{self, Coerced, Fields},
    warning::Subject,
};
use crate::{
    dead_letter::DeadLetterAction,
    problem::{Problem, nearest},
};

/// What `_encoding` may be.
const ENCODINGS: &[(&str, Encoding)] = &[("json", Encoding::Json), ("raw", Encoding::Raw)];
/// The names with an underscore that operations share.
const COMMON: &[&str] = &["_op", "_encoding", "_dead_letter_action", "_api_name", "_connection"];

/// Reads `apis`.
pub(super) fn apis(job: &mut Fields<'_>, environment: &CheckEnvironment) -> Vec<ApiConfig> {
    let items = job.take("apis", (Vec::new(), json!([])), objects);
    let mut read: Vec<ApiConfig> = Vec::new();
    let mut documents = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut fields = Fields::new(item, format!("/apis/{index}"), job.report);
        let api = api(&mut fields, environment);
        if let Some(other) = read.iter().position(|other| !api.name.is_empty() && other.name == api.name) {
            fields.problem("_name", format!("_name {:?} is taken by /apis/{other} already", api.name));
        }
        documents.push(Value::Object(fields.into_document()));
        read.push(api);
    }
    if !items.is_empty() {
        job.show("apis", documents.into());
    }
    read
}

/// Reads `operations`.
pub(super) fn operations(
    job: &mut Fields<'_>,
    apis: &[ApiConfig],
    environment: &CheckEnvironment,
) -> Vec<OperationConfig> {
    let before = job.report.problems.len();
    let items = job.take("operations", (Vec::new(), json!([])), objects);
    if items.len() < 2 && job.report.problems.len() == before {
        let found = items.len();
        job.problem(
            "operations",
            format!("operations must be a reader and at least one more, found {found}"),
        );
    }
    let mut read = Vec::new();
    let mut documents = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut fields = Fields::new(item, format!("/operations/{index}"), job.report);
        read.push(operation(&mut fields, apis, environment));
        documents.push(Value::Object(fields.into_document()));
    }
    if !items.is_empty() {
        job.show("operations", documents.into());
    }
    read
}

/// What operations and APIs have in common.
struct Common {
    encoding: Option<Encoding>,
    dead_letter_action: Option<DeadLetterAction>,
    connection: Option<String>,
}

fn api(fields: &mut Fields<'_>, environment: &CheckEnvironment) -> ApiConfig {
    let name = required(fields, "_name");
    let legacy = fields.optional("connection", fields::text);
    let common = common(fields, environment);
    if let (Some(connection), None) = (&legacy, &common.connection) {
        check_connection(fields, "connection", connection, environment);
        fields.show("_connection", connection.as_str().into());
        fields.hide("connection");
        deprecate(fields, "connection", Subject::Api(name.clone()), "use _connection");
    }
    ApiConfig {
        settings: settings(fields),
        name,
        encoding: common.encoding,
        dead_letter_action: common.dead_letter_action,
        connection: common.connection.or(legacy),
    }
}

fn operation(fields: &mut Fields<'_>, apis: &[ApiConfig], environment: &CheckEnvironment) -> OperationConfig {
    let whole = required(fields, "_op");
    let common = common(fields, environment);
    let api_name = fields.optional("_api_name", fields::text);
    let api = api_name.as_ref().and_then(|name| find_api(fields, name, apis));
    let encoding = common.encoding.or(api.and_then(|api| api.encoding)).unwrap_or_default();
    fields.show("_encoding", if encoding == Encoding::Raw { "raw" } else { "json" }.into());
    // The name of 2018; an operation of today may have a setting of that name, so it stays where it is.
    let legacy = || fields.raw("connection").and_then(Value::as_str).map(str::to_owned);
    let connection = common.connection.or_else(|| api.and_then(|api| api.connection.clone())).or_else(legacy);
    warn_of_underscores(fields);
    let (op, asset) = match whole.split_once('@') {
        Some((op, asset)) => (op.to_owned(), Some(asset.to_owned())),
        None => (whole.clone(), None),
    };
    if !whole.is_empty() && (op.is_empty() || asset.as_deref() == Some("") || op.starts_with(['.', '_'])) {
        let message = format!("_op must be a name or name@asset, and not begin with . or _, found {whole:?}");
        fields.problem("_op", message);
    }
    let mut merged = api.map(|api| api.settings.clone()).unwrap_or_default();
    merged.extend(settings(fields));
    OperationConfig {
        op,
        asset,
        encoding,
        dead_letter_action: common.dead_letter_action.or(api.and_then(|api| api.dead_letter_action.clone())),
        api_name,
        connection,
        settings: merged,
    }
}

fn common(fields: &mut Fields<'_>, environment: &CheckEnvironment) -> Common {
    let encoding = fields.optional("_encoding", fields::one_of(ENCODINGS));
    let action = fields.optional("_dead_letter_action", fields::text);
    let connection = fields.optional("_connection", fields::text);
    if let Some(connection) = &connection {
        check_connection(fields, "_connection", connection, environment);
    }
    let dead_letter_action = action.as_deref().map(DeadLetterAction::parse);
    Common { encoding, dead_letter_action, connection }
}

fn required(fields: &mut Fields<'_>, key: &'static str) -> String {
    if fields.raw(key).is_none() {
        fields.problem(key, format!("{key} is required"));
    }
    fields.optional(key, fields::text).unwrap_or_default()
}

fn check_connection(fields: &mut Fields<'_>, key: &str, connection: &str, environment: &CheckEnvironment) {
    let Some(known) = &environment.known_connections else { return };
    if !known.iter().any(|name| name == connection) {
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let problem = Problem::unknown(fields.pointer(key), "connection", connection, &known);
        fields.report.problems.push(problem);
    }
}

fn find_api<'a>(fields: &mut Fields<'_>, name: &str, apis: &'a [ApiConfig]) -> Option<&'a ApiConfig> {
    let found = apis.iter().find(|api| api.name == name);
    if found.is_none() {
        let mut known: Vec<_> =
            apis.iter().map(|api| api.name.as_str()).filter(|name| !name.is_empty()).collect();
        known.dedup();
        let problem = Problem::unknown(fields.pointer("_api_name"), "api", name, &known);
        let problem =
            if known.is_empty() { problem.with_hint("the job has no apis: add it there") } else { problem };
        fields.report.problems.push(problem);
    }
    found
}

/// Returns the settings: what nobody has read, names with an underscore included.
fn settings(fields: &Fields<'_>) -> Map<String, Value> {
    let own = fields.source().iter().filter(|(key, _)| !fields.is_known(key));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Warns about names with an underscore that are misspelt common ones.
fn warn_of_underscores(fields: &mut Fields<'_>) {
    let unknown = fields.source().keys().filter(|key| key.starts_with('_') && !fields.is_known(key));
    for key in unknown.cloned().collect::<Vec<_>>() {
        let problem = Problem::new(fields.pointer(&key), format!("unknown common setting {key:?}"));
        let problem = match nearest(&key, COMMON) {
            Some(near) => problem.with_hint(format!("did you mean {near:?}?")),
            None => problem.with_hint(format!("known: {}", COMMON.join(", "))),
        };
        fields.report.warnings.push(problem.into());
    }
}

/// Reads a list of objects.
fn objects(value: &Value) -> Coerced<Vec<Map<String, Value>>> {
    let Value::Array(items) = value else { return Err(fields::wanted("a list of objects", value)) };
    let mut read = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Value::Object(properties) = item else {
            return Err(format!("{}, at place {index}", fields::wanted("a list of objects", item)));
        };
        read.push(properties.clone());
    }
    Ok((read, value.clone()))
}
