//! Checks the override of a job (`pod_spec_override`): whether it is a part of a pod, and which of it has no effect.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;
use serde_path_to_error::Segment;
use teraslice_model::{
    job::CheckedJob,
    problem::{Problem, escape_pointer},
};

use super::Findings;
use crate::render::{CONTAINER, environment, overlay};

/// The property, as the first step of a pointer.
const PLACE: &str = "/pod_spec_override";

/// Lists of which an override may not name an entry without saying which.
const NAMED: [&str; 3] = ["containers", "initContainers", "volumes"];

/// Checks the override of a job.
pub(super) fn check(job: &CheckedJob, findings: &mut Findings) {
    let patch = Value::Object(job.resources.pod_spec_override.clone());
    match serde_path_to_error::deserialize::<_, PodSpec>(&patch) {
        Ok(spec) => {
            let understood = serde_json::to_value(&spec).unwrap_or_default();
            unknown(&patch, &understood, PLACE, findings);
        }
        Err(error) => {
            let pointer = pointer(error.path());
            findings.problems.push(
                Problem::new(pointer, "the override is no part of a pod")
                    .with_hint(error.inner().to_string()),
            );
        }
    }
    for key in overlay::KEPT {
        if patch.get(key).is_some() {
            let message = format!("{key} has no effect here: the cluster says what it is");
            findings.warning(format!("{PLACE}/{key}"), message);
        }
    }
    lists(&patch, findings);
}

/// Writes the place of an error as a pointer into the job.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let steps = path.iter().map(|segment| match segment {
        Segment::Map { key } => format!("/{}", escape_pointer(key)),
        Segment::Seq { index } => format!("/{index}"),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    });
    format!("{PLACE}{}", steps.collect::<String>())
}

/// Warns of everything that was written and was not understood.
fn unknown(written: &Value, understood: &Value, place: &str, findings: &mut Findings) {
    match written {
        Value::Object(entries) => {
            for (key, value) in entries {
                let place = format!("{place}/{}", escape_pointer(key));
                match understood.get(key) {
                    Some(understood) => unknown(value, understood, &place, findings),
                    None if is_empty(value) => {}
                    None => findings.warning(place, format!("{key} is not known here and has no effect")),
                }
            }
        }
        Value::Array(entries) => {
            for (index, value) in entries.iter().enumerate() {
                let understood = understood.get(index).unwrap_or(&Value::Null);
                unknown(value, understood, &format!("{place}/{index}"), findings);
            }
        }
        _ => {}
    }
}

/// Tells whether a value may be left out where it is written anew.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(entries) => entries.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Checks the lists that are merged by name.
fn lists(patch: &Value, findings: &mut Findings) {
    if patch.get("containers").is_some_and(Value::is_null) {
        findings.problem(format!("{PLACE}/containers"), "the container of the process cannot be removed");
    }
    for list in NAMED {
        for (index, entry) in entries(patch, list).iter().enumerate() {
            let place = format!("{PLACE}/{list}/{index}");
            if entry.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
                let hint = format!("the container of the process is {CONTAINER:?}");
                let problem = Problem::new(place.clone(), "an entry of this list must have a name");
                findings.problems.push(if list == "containers" { problem.with_hint(hint) } else { problem });
            }
            if list == "containers" && entry.get("name").is_some_and(|name| name == CONTAINER) {
                reserved(entry, &place, findings);
            }
            if entry.get("hostPath").is_some_and(|path| !path.is_null()) {
                findings.problem(format!("{place}/hostPath"), "folders of the machine cannot be mounted");
            }
            if list != "volumes" && entry.get("securityContext").is_some() {
                let message = "securityContext has no effect here: the cluster says what it is";
                findings.warning(format!("{place}/securityContext"), message);
            }
        }
    }
}

/// Refuses variables of our container that tell the process what it is.
fn reserved(container: &Value, place: &str, findings: &mut Findings) {
    for (index, variable) in entries(container, "env").iter().enumerate() {
        if let Some(name) = variable.get("name").and_then(Value::as_str)
            && environment::RESERVED.contains(&name)
        {
            findings.problem(format!("{place}/env/{index}"), format!("{name} is reserved"));
        }
    }
}

fn entries<'a>(of: &'a Value, list: &str) -> &'a [Value] {
    of.get(list).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
