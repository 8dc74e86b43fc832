//! The check of the properties that only some cluster backends use.

use serde_json::{Map, Value, json};

use super::{
    Constraint, Port, Resources, Target, Volume,
    check::{CheckEnvironment, deprecate},
    fields::{self, Coerced, Fields},
    warning::Subject,
};

/// The port of an execution controller that has an address of its own; no job may open it once more.
pub const CONTROLLER_PORT: u16 = 45_680;

/// Reads everything that a job asks of the cluster.
pub(super) fn resources(fields: &mut Fields<'_>, environment: &CheckEnvironment) -> Resources {
    let cpu = deprecated(fields, "cpu", "resources_requests_cpu", "resources_limits_cpu", fields::positive);
    let memory =
        deprecated(fields, "memory", "resources_requests_memory", "resources_limits_memory", fields::bytes);
    let cpu_request = fields.optional("resources_requests_cpu", fields::positive);
    let cpu_limit = fields.optional("resources_limits_cpu", fields::positive);
    let memory_request = fields.optional("resources_requests_memory", fields::bytes);
    let memory_limit = fields.optional("resources_limits_memory", fields::bytes);
    exceeds(fields, "resources_requests_cpu", "resources_limits_cpu", cpu_request, cpu_limit);
    exceeds(fields, "resources_requests_memory", "resources_limits_memory", memory_request, memory_limit);
    metrics(fields);
    let spec = fields.optional("pod_spec_override", object).unwrap_or_default();
    if environment.is_kubernetes && !environment.overrides_enabled && !spec.is_empty() {
        let message =
            "pod_spec_override must be empty unless kubernetes_overrides_enabled is set for the cluster";
        fields.problem("pod_spec_override", message);
    }
    let resources = Resources {
        cpu_request: cpu_request.or(cpu),
        cpu_limit: cpu_limit.or(cpu),
        memory_request: memory_request.or(memory),
        memory_limit: memory_limit.or(memory),
        cpu_controller: fields.optional("cpu_execution_controller", fields::positive),
        memory_controller: fields.optional("memory_execution_controller", fields::bytes),
        targets: fields.optional("targets", |value| each(value, target)).unwrap_or_default(),
        volumes: fields.optional("volumes", |value| each(value, volume)).unwrap_or_default(),
        ephemeral_storage: fields.optional("ephemeral_storage", fields::boolean).unwrap_or_default(),
        external_ports: fields
            .optional("external_ports", fields::nullable(|value| each(value, port)))
            .unwrap_or_default(),
        image: fields.optional("kubernetes_image", fields::text),
        pod_spec_override: spec,
    };
    if environment.is_kubernetes {
        for (key, default) in [
            ("targets", json!([])),
            ("ephemeral_storage", json!(false)),
            ("volumes", json!([])),
            ("pod_spec_override", json!({})),
        ] {
            if fields.raw(key).is_none() {
                fields.show(key, default);
            }
        }
    }
    resources
}

/// Reads `cpu` or `memory`: deprecated, not together with what replaced them; -1 is the 2018 way to say nothing.
fn deprecated<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    request: &'static str,
    limit: &'static str,
    read: impl FnOnce(&Value) -> Coerced<T>,
) -> Option<T> {
    let unset = fields.raw(key).is_some_and(|value| value.as_i64() == Some(-1));
    let value = fields.optional(key, |value| {
        if unset { Ok((None, value.clone())) } else { read(value).map(|(read, shown)| (Some(read), shown)) }
    })?;
    deprecate(fields, key, Subject::Job, &format!("use {request} and {limit}"));
    let value = value?;
    for newer in [request, limit] {
        if fields.raw(newer).is_some() {
            fields.problem(key, format!("{key} must not be combined with {newer}"));
        }
    }
    Some(value)
}

fn exceeds<T: PartialOrd>(
    fields: &mut Fields<'_>,
    request: &'static str,
    limit: &'static str,
    requested: Option<T>,
    limited: Option<T>,
) {
    if let (Some(requested), Some(limited)) = (requested, limited)
        && requested > limited
    {
        fields.problem(request, format!("{request} must not be more than {limit}"));
    }
}

/// Checks what the metrics exporter will use; the document keeps it.
fn metrics(fields: &mut Fields<'_>) {
    let _enabled = fields.optional("prom_metrics_enabled", fields::boolean);
    let _port = fields
        .optional("prom_metrics_port", |value| port_number(value).map(|number| (number, number.into())));
    let _default = fields.optional("prom_metrics_add_default", fields::boolean);
}

fn object(value: &Value) -> Coerced<Map<String, Value>> {
    let read = value.as_object().ok_or_else(|| fields::wanted("an object", value))?;
    Ok((read.clone(), value.clone()))
}

/// Reads a list, entry by entry.
fn each<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Coerced<Vec<T>> {
    let Value::Array(items) = value else { return Err(fields::wanted("a list", value)) };
    let all = items.iter().enumerate().map(|(index, item)| {
        read(item).map_err(|wrong| format!("has an entry at place {index} that {wrong}"))
    });
    Ok((all.collect::<Result<_, _>>()?, value.clone()))
}

/// Returns a property of an entry as text; numbers and booleans count as text.
fn named(entry: &Value, key: &str) -> Result<String, String> {
    match entry.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(scalar.to_string()),
        _ => Err(format!("has no {key:?}")),
    }
}

fn target(entry: &Value) -> Result<Target, String> {
    let constraint = match entry.get("constraint").and_then(Value::as_str) {
        None | Some("required") => Constraint::Required,
        Some("preferred") => Constraint::Preferred,
        Some("accepted") => Constraint::Accepted,
        Some(other) => {
            return Err(format!("has the constraint {other:?} (known: required, preferred, accepted)"));
        }
    };
    Ok(Target { key: named(entry, "key")?, value: named(entry, "value")?, constraint })
}

fn volume(entry: &Value) -> Result<Volume, String> {
    Ok(Volume { name: named(entry, "name")?, path: named(entry, "path")? })
}

fn port(entry: &Value) -> Result<Port, String> {
    if entry.is_object() {
        let number = entry.get("port").ok_or_else(|| "has no \"port\"".to_owned())?;
        return Ok(Port { name: Some(named(entry, "name")?), port: port_number(number)? });
    }
    match port_number(entry)? {
        CONTROLLER_PORT => Err(format!("is {CONTROLLER_PORT}, the port of the execution controller")),
        number => Ok(Port { name: None, port: number }),
    }
}

fn port_number(value: &Value) -> Result<u16, String> {
    let number = fields::whole(1)(value).ok().and_then(|(number, _)| u16::try_from(number).ok());
    number.ok_or_else(|| fields::wanted("a port from 1 to 65535", value))
}
