//! The schema in the documentation, held against what is said.

use std::fs;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use teraslice_plugin_sdk::{
    Capabilities,
    message::{
        AdoptParams, CancelParams, Description, DesiredExecution, EnsureParams, ErrorObject, Event,
        ExitReason, Gone, HandshakeParams, Instance, Log, LogLevel, MAGIC, ObserveParams, PROTOCOL, Phase,
        ProcessTemplate, Retire, RetireParams, Role, Snapshot, StartParams, Stop, StopParams, code,
    },
};

const EX: &str = "01020304-0506-4708-890a-0b0c0d0e0f10";

/// Returns what is wrong with a message of a kind.
fn fault(kind: &str, message: &Value) -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/backend-protocol.schema.json");
    let schema = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("mem:///protocol.json", schema).unwrap();
    let index = compiler.compile(&format!("mem:///protocol.json#/$defs/{kind}"), &mut schemas).unwrap();
    schemas.validate(message, index).err().map(|error| error.to_string())
}

fn instance(phase: Phase) -> Instance {
    let (id, ex_id) = ("a".to_owned(), EX.to_owned());
    Instance { id, ex_id, generation: 1, role: Role::Worker, ordinal: 0, phase, since_ms: Some(1) }
}

/// One message of each kind, as this version writes it.
fn messages() -> Vec<(&'static str, Value)> {
    let process = ProcessTemplate {
        program: "/bin/x".to_owned(),
        arguments: vec!["worker".to_owned()],
        environment: [("A".to_owned(), "b".to_owned())].into(),
    };
    let desired = DesiredExecution {
        ex_id: EX.to_owned(),
        job_id: EX.to_owned(),
        generation: 1,
        revision: 2,
        controller: true,
        workers: 3,
        drain_grace_ms: 30_000,
        controller_process: process.clone(),
        worker_process: process,
        resources: json!({}),
        job: serde_json::Map::new(),
    };
    let phases = [
        Phase::Waiting("queue".to_owned()),
        Phase::Starting,
        Phase::Running,
        Phase::Draining,
        Phase::Lost,
        Phase::Exited(ExitReason::Completed),
        Phase::Exited(ExitReason::Code(3)),
        Phase::Exited(ExitReason::Signal(9)),
        Phase::Exited(ExitReason::OutOfMemory),
        Phase::Exited(ExitReason::NotStarted("no image".to_owned())),
        Phase::Exited(ExitReason::Unknown),
    ];
    let hello = HandshakeParams { magic: MAGIC.to_owned(), protocol: PROTOCOL, host_version: "1".to_owned() };
    let description = Description {
        magic: MAGIC.to_owned(),
        protocol: PROTOCOL,
        name: "x".to_owned(),
        version: "1".to_owned(),
        capabilities: Capabilities::EVENTS.and(Capabilities::DETACH),
        config_schema: json!({}),
        job_schema: None,
    };
    let start = StartParams { cluster: "c".to_owned(), state_directory: "/s".to_owned(), config: json!({}) };
    let retire =
        RetireParams { term: 1, ex_id: EX.to_owned(), generation_max: 1, how: Retire::Drain, grace_ms: 5 };
    let snapshot = Snapshot { as_of_ms: Some(1), instances: phases.into_iter().map(instance).collect() };
    vec![
        ("handshake_params", json!(hello)),
        ("handshake_result", json!(description)),
        ("start_params", json!(start)),
        ("adopt_params", json!(AdoptParams { term: 1 })),
        ("ensure_params", json!(EnsureParams { term: 1, desired })),
        ("retire_params", json!(retire)),
        ("retire_result", json!(Gone { unconfirmed: vec!["a".to_owned()] })),
        ("observe_params", json!(ObserveParams { ex_id: None })),
        ("observe_params", json!(ObserveParams { ex_id: Some(EX.to_owned()) })),
        ("observe_result", json!(snapshot)),
        ("stop_params", json!(StopParams { term: 1, how: Stop::Terminate })),
        ("cancel_params", json!(CancelParams { id: 7 })),
        ("event_params", json!(Event { ex_id: None })),
        ("log_params", json!(Log { level: LogLevel::Warn, message: "m".to_owned() })),
        ("error", json!(ErrorObject::new(code::REFUSED, "no"))),
    ]
}

#[test]
fn keeps_to_its_schema() {
    for (kind, message) in messages() {
        assert_eq!(fault(kind, &message), None, "{kind}: {message}");
    }
}

#[test]
fn has_a_schema_that_refuses_something() {
    for (kind, message) in messages() {
        let Value::Object(fields) = message else { panic!("messages are objects") };
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_object()) {
            let mut spoilt = fields.clone();
            spoilt[field] = if value.is_string() { json!(7) } else { json!("seven") };
            assert!(fault(kind, &Value::Object(spoilt)).is_some(), "{kind}: {field}");
        }
    }
}
