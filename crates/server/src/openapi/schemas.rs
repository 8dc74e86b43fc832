//! The schemas of the OpenAPI document. More properties than listed are always possible, unless a schema says otherwise.

use serde_json::{Map, Value, json};
use teraslice_api::explanation::Cause;
use teraslice_model::status::Status;

use crate::{executions::LEVELS, params::COUNT_MAX};

/// Returns every schema, by name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for (name, schema) in cluster().into_iter().chain(jobs()).chain(slices()).chain(others()) {
        all.insert(name.to_owned(), schema);
    }
    Value::Object(all)
}

type Named = (&'static str, Value);

fn text() -> Value {
    json!({"type": "string"})
}

fn whole() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A number, or `N/A` where a backend does not know it.
fn known() -> Value {
    json!({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "N/A"}]})
}

/// An object whose properties are all there.
fn full(properties: Value) -> Value {
    let required: Vec<_> =
        properties.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    json!({"type": "object", "properties": properties, "required": required})
}

/// An object of which some properties are always there.
fn partial(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn statuses() -> Value {
    let words: Vec<_> = Status::ALL.into_iter().map(Status::as_str).collect();
    json!({"type": "string", "enum": words})
}

fn cluster() -> Vec<Named> {
    let sums = full(json!({
        "processed": whole(), "failed": whole(), "queued": whole(), "job_duration": whole(),
        "workers_joined": whole(), "workers_disconnected": whole(), "workers_reconnected": whole(),
    }));
    let process = partial(
        &["worker_id", "assignment"],
        json!({
            "worker_id": {"type": ["integer", "string"]}, "assignment": text(), "pid": whole(), "ex_id": uuid(),
            "job_id": uuid(), "assets": {"type": "array", "items": text()}, "pod_name": text(), "pod_ip": text(),
            "image": text(),
        }),
    );
    let node = full(json!({
        "node_id": text(), "hostname": text(), "pid": known(), "node_version": text(), "teraslice_version": text(),
        "total": known(), "state": {"type": "string", "enum": ["connected", "disconnected"]},
        "available": known(), "active": {"type": "array", "items": process},
    }));
    vec![
        ("Error", full(json!({"error": {"type": "integer"}, "message": text()}))),
        ("TextError", partial(&["error"], json!({"error": {"type": ["string", "integer"]}}))),
        (
            "ClusterInfo",
            full(json!({
                "arch": text(), "clustering_type": text(), "name": text(), "node_version": text(),
                "platform": text(), "teraslice_version": text(),
            })),
        ),
        ("ClusterState", json!({"type": "object", "additionalProperties": node})),
        ("ClusterStats", full(json!({"controllers": sums, "slicer": sums}))),
        (
            "Stats",
            partial(&["processed", "failed", "queued", "workers_active", "workers_available"], stats()),
        ),
        (
            "ControllerState",
            json!({"allOf": [
                {"$ref": "#/components/schemas/Stats"},
                full(json!({"ex_id": uuid(), "job_id": uuid(), "name": text(), "started": time()})),
            ]}),
        ),
        (
            "Health",
            json!({
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "string", "enum": ["live", "ready"]},
                    "backend": full(json!({
                        "status": {"type": "string", "enum": ["degraded"]}, "reason": text(), "since": time(),
                    })),
                },
            }),
        ),
    ]
}

fn stats() -> Value {
    json!({
        "workers_available": whole(), "workers_active": whole(), "workers_joined": whole(),
        "workers_reconnected": whole(), "workers_disconnected": whole(), "job_duration": whole(), "failed": whole(),
        "subslices": whole(), "queued": whole(), "leased": whole(), "slice_range_expansion": whole(),
        "processed": whole(), "slicers": whole(), "subslice_by_key": whole(), "started": time(),
        "queuing_complete": time(), "operations": {"type": "array", "items": {"type": "object"}},
    })
}

fn jobs() -> Vec<Named> {
    let warnings = json!({"type": "array", "items": {"type": "object"}});
    let operations = json!({"type": "array", "items": {"type": "object"}, "minItems": 2});
    vec![
        (
            "JobBody",
            json!({
                "type": "object",
                "description": "A job, as docs/jobs.md says.",
                "properties": {"name": text(), "operations": operations},
                "required": ["operations"],
            }),
        ),
        (
            "Job",
            partial(
                &["job_id", "_context", "_created", "_updated"],
                json!({
                    "job_id": uuid(), "_context": {"const": "job"}, "_created": time(), "_updated": time(),
                    "_deleted": flag(), "_deleted_on": time(), "ex": {"type": "object"}, "warnings": warnings,
                }),
            ),
        ),
        (
            "Execution",
            partial(
                &[
                    "ex_id",
                    "job_id",
                    "_context",
                    "_created",
                    "_updated",
                    "_status",
                    "_has_errors",
                    "_failureReason",
                    "_slicer_stats",
                    "metadata",
                    "teraslice_version",
                ],
                json!({
                    "ex_id": uuid(), "job_id": uuid(), "_context": {"const": "ex"}, "_created": time(),
                    "_updated": time(), "_status": statuses(), "_has_errors": flag(), "_failureReason": text(),
                    "_slicer_stats": {"$ref": "#/components/schemas/Stats"}, "metadata": {"type": "object"},
                    "teraslice_version": text(), "workers": whole(), "slicer_hostname": text(), "slicer_port": whole(),
                    "recovered_execution": uuid(),
                    "recovered_slice_type": {"type": "string", "enum": ["all", "errors", "pending"]},
                    "_deleted": flag(), "_deleted_on": time(),
                }),
            ),
        ),
        ("Submitted", partial(&["job_id"], json!({"job_id": uuid(), "ex_id": uuid(), "warnings": warnings}))),
        ("Status", partial(&["status"], json!({"status": statuses(), "message": text()}))),
        ("Message", full(json!({"message": text()}))),
        (
            "Settings",
            json!({"type": "object", "properties": {"log_level": {"type": "string", "enum": LEVELS}}}),
        ),
        ("SettingsAnswer", full(json!({"exId": uuid(), "level": text()}))),
    ]
}

fn slices() -> Vec<Named> {
    let states = json!({"type": "string", "enum": ["pending", "completed", "error"]});
    let replay = full(json!({"job_id": uuid(), "ex_id": uuid(), "operation": whole(), "letters": whole()}));
    vec![
        (
            "SliceError",
            partial(
                &[
                    "slice_id",
                    "slicer_id",
                    "slicer_order",
                    "request",
                    "state",
                    "ex_id",
                    "_created",
                    "_updated",
                    "error",
                ],
                json!({
                    "slice_id": uuid(), "slicer_id": whole(), "slicer_order": whole(), "request": text(),
                    "state": states, "ex_id": uuid(), "_created": time(), "_updated": time(), "error": text(),
                    "retry_count": whole(),
                }),
            ),
        ),
        (
            "Slice",
            partial(
                &["slice_id", "slicer_id", "slicer_order", "request", "state", "ex_id", "_created"],
                json!({
                    "slice_id": uuid(), "slicer_id": whole(), "slicer_order": whole(), "request": {}, "state": states,
                    "ex_id": uuid(), "_created": time(), "error": text(), "retry_count": whole(), "deaths": whole(),
                }),
            ),
        ),
        (
            "DeadLetter",
            partial(
                &["number", "slice_id", "operation", "op", "reason", "record"],
                json!({
                    "number": whole(), "replayed_in": uuid(), "slice_id": uuid(), "operation": whole(), "op": text(),
                    "reason": text(), "record": text(), "encoding": text(), "metadata": {"type": ["string", "null"]},
                }),
            ),
        ),
        (
            "ReplayRequest",
            json!({
                "type": "object",
                "properties": {
                    "numbers": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": COUNT_MAX}},
                    "op": {"type": ["string", "null"]},
                    "again": flag(),
                },
                "additionalProperties": false,
            }),
        ),
        ("ReplayAnswer", full(json!({"replays": {"type": "array", "items": replay}}))),
    ]
}

fn others() -> Vec<Named> {
    let role = json!({"type": "string", "enum": ["read", "operate", "admin"]});
    let causes: Vec<_> = Cause::ALL.into_iter().map(Cause::as_str).collect();
    vec![
        (
            "Explanation",
            partial(
                &["ex_id", "status", "cause", "message", "evidence"],
                json!({
                    "ex_id": uuid(), "status": statuses(), "cause": {"type": "string", "enum": causes}, "message": text(),
                    "evidence": {"type": "object"}, "hint": text(),
                }),
            ),
        ),
        (
            "Asset",
            partial(
                &["id", "name", "version", "_created"],
                json!({
                    "id": text(), "name": text(), "version": text(), "_created": time(), "description": text(),
                    "node_version": whole(), "platform": text(), "arch": text(), "sha256": text(), "size": whole(),
                }),
            ),
        ),
        ("AssetAnswer", full(json!({"asset_id": text()}))),
        (
            "NewToken",
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                    "role": role,
                },
                "required": ["name", "role"],
                "additionalProperties": false,
            }),
        ),
        ("TokenMade", full(json!({"name": text(), "role": role, "token": text(), "_created": time()}))),
        ("Token", full(json!({"name": text(), "role": role, "_created": time()}))),
        (
            "AuditEntry",
            full(json!({
                "@timestamp": time(), "who": text(), "address": text(), "action": text(), "target": text(),
                "before": {}, "after": {},
            })),
        ),
    ]
}
