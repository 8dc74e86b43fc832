//! `teraslice assets test`: cases for operations, run in the sandbox.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use teraslice_core::{
    context::Context,
    operation::{OperationError, Processed},
    registry::Asset as _,
};
use teraslice_model::{
    batch::{Batch, Frame, FrameError},
    job::{Format, Sandbox},
};
use teraslice_node::exit_code;
use teraslice_runtime_wasm::{Tier, WasmAsset};

use super::{Found, find, load, named_step, parse, slice, step};
use crate::{args::TestAsset, command::session::Session, failure::Failure, output, units};

/// The file with the cases of a project.
const CASES: &str = "tests.yaml";

/// Records that go through steps, and what is to come of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    #[serde(default)]
    name: String,
    /// As in a job: `_op` and settings.
    pub(super) steps: Vec<Map<String, Value>>,
    records: Vec<Value>,
    /// Absent: anything may come out.
    expect: Option<Vec<Value>>,
    /// Texts of the reasons, in order.
    #[serde(default)]
    refused: Vec<String>,
}

/// How a case went.
#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    ok: bool,
    records: usize,
    micros: u128,
    /// What is otherwise than expected, a line each.
    faults: Vec<String>,
}

/// Runs cases; returns the exit code.
pub(super) fn execute(session: &Session, arguments: &TestAsset) -> Result<u8, Failure> {
    let Found { bundle, project } = find(session, &arguments.asset)?;
    let cases = match &arguments.op {
        Some(op) => vec![inline(op, arguments)?],
        None => read_all(project.as_deref(), &arguments.files)?,
    };
    let limits = session.parts.config().wasm.limits(&Sandbox::default()).map_err(|problems| {
        Failure::text(exit_code::BAD_CONFIG, "the limits are wrong").with_problems(problems)
    })?;
    session.screen.say(&format!(
        "limits: {} of memory, {} ms per batch and 1 ms per KiB",
        units::bytes(limits.memory as f64),
        limits.process_base.as_millis()
    ));
    let asset = load(session, bundle, Tier::Default)?;
    let verdicts = cases.iter().map(|case| judge(&asset, case)).collect::<Result<Vec<_>, _>>()?;
    output::print(session.output(), &verdicts, || render(&verdicts))?;
    let is_ok = verdicts.iter().all(|verdict| verdict.ok);
    Ok(if is_ok { exit_code::DONE } else { exit_code::FAILED })
}

fn inline(op: &str, arguments: &TestAsset) -> Result<Case, Failure> {
    let array = |name: &str, text: &str| match parse(name, text)? {
        Value::Array(values) => Ok(values),
        _ => Err(Failure::text(exit_code::BAD_JOB, format!("{name} is no JSON array: {text}"))),
    };
    Ok(Case {
        name: op.to_owned(),
        steps: vec![named_step(op, &arguments.settings)?],
        records: array("--records", &arguments.records)?,
        expect: arguments.expect.as_deref().map(|text| array("--expect", text)).transpose()?,
        refused: Vec::new(),
    })
}

/// Reads the cases of files, or of the project.
pub(super) fn read_all(project: Option<&Path>, files: &[PathBuf]) -> Result<Vec<Case>, Failure> {
    let own = project.map(|project| project.join(CASES));
    let files: Vec<_> = if files.is_empty() { own.into_iter().collect() } else { files.to_vec() };
    if files.is_empty() {
        let hint = "name files with cases, or use --op, --config, --records and --expect";
        return Err(Failure::text(exit_code::BAD_JOB, "there are no cases to run").with_hint(hint));
    }
    let mut cases = Vec::new();
    for file in files {
        let bad = |error: anyhow::Error| {
            Failure::new(
                exit_code::BAD_JOB,
                error.context(format!("failed to read cases from {}", file.display())),
            )
        };
        let text = fs::read_to_string(&file).map_err(|error| bad(error.into()))?;
        let parsed = Format::of(&file).parse(&text).map_err(|error| bad(error.into()))?;
        let more: Vec<Case> = serde_json::from_value(parsed).map_err(|error| bad(error.into()))?;
        cases.extend(more);
    }
    Ok(cases)
}

fn judge(asset: &WasmAsset, case: &Case) -> Result<Verdict, Failure> {
    let steps = case.steps.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    let context = Context::system();
    let start = context.now();
    let run = match asset.chain(&steps) {
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        Ok(chain) => run(chain.as_ref(), &case.records).map_err(|error| vec![error.to_string()]),
    };
    let took: Duration = context.now() - start;
    let faults = match run {
        Ok(processed) => compare(case, &processed),
        Err(faults) => faults,
    };
    Ok(Verdict {
        name: case.name.clone(),
        ok: faults.is_empty(),
        records: case.records.len(),
        micros: took.as_micros(),
        faults,
    })
}

fn run(
    chain: &dyn teraslice_core::operation::ProcessorFactory,
    records: &[Value],
) -> Result<Vec<Processed>, OperationError> {
    let slice = slice();
    let mut processor = chain.open(&slice)?;
    let framed = |error: FrameError| OperationError::slice(error.to_string());
    let mut all = Vec::new();
    for records in records.chunks(Batch::RECORDS_MAX) {
        let frame = Frame::of(records.iter().map(Value::to_string)).map_err(framed)?;
        all.push(processor.process(&Batch::new(frame))?);
    }
    all.push(processor.finish()?);
    Ok(all)
}

/// Says what is otherwise than the case expects.
fn compare(case: &Case, processed: &[Processed]) -> Vec<String> {
    let mut faults = Vec::new();
    let batches = processed.iter().flat_map(|processed| &processed.batches);
    let found = batches.flat_map(|batch| (0..batch.len()).map(|at| value(batch.record(at))));
    let found: Vec<Value> = found.collect();
    if let Some(expected) = &case.expect {
        for at in 0..found.len().max(expected.len()) {
            if found.get(at) != expected.get(at) {
                faults.extend(expected.get(at).map(|record| format!("- {record}")));
                faults.extend(found.get(at).map(|record| format!("+ {record}")));
            }
        }
    }
    let refused: Vec<_> = processed.iter().flat_map(|processed| &processed.rejected).collect();
    for at in 0..refused.len().max(case.refused.len()) {
        match (case.refused.get(at), refused.get(at)) {
            (Some(text), Some(found)) if found.reason.contains(text.as_str()) => {}
            (Some(text), Some(found)) => {
                faults.push(format!("refused because {:?}, expected {text:?}", found.reason))
            }
            (Some(text), None) => faults.push(format!("no record was refused because {text:?}")),
            (None, Some(found)) => {
                faults.push(format!("refused {}: {}", String::from_utf8_lossy(&found.record), found.reason));
            }
            (None, None) => {}
        }
    }
    faults
}

/// Reads a record; what is no JSON is shown as text.
fn value(record: &[u8]) -> Value {
    serde_json::from_slice(record).unwrap_or_else(|_| String::from_utf8_lossy(record).into())
}

fn render(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for Verdict { name, ok, records, micros, faults } in verdicts {
        let word = if *ok { "ok    " } else { "FAILED" };
        let _infallible = writeln!(text, "{word}  {name}  ({records} records, {micros} us)");
        for fault in faults {
            let _infallible = writeln!(text, "  {fault}");
        }
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.ok).count();
    let _infallible = writeln!(text, "{} passed, {failed} failed", verdicts.len() - failed);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_core::operation::Rejected;

    use super::*;

    #[test]
    fn shows_each_difference() {
        let case: Case = serde_json::from_value(json!({
            "steps": [{"_op": "x"}], "records": [], "expect": [{"a": 1}, {"a": 2}], "refused": ["no"],
        }))
        .unwrap();
        let batch = Batch::new(Frame::of(["{\"a\": 1}", "{\"a\":3}"]).unwrap());
        let reason = "never".to_owned();
        let rejected = Rejected { step: 0, reason, record: b"{}".to_vec(), metadata: None, is_fault: false };
        let processed = Processed { batches: vec![batch], rejected: vec![rejected], counts: Vec::new() };
        let expected = ["- {\"a\":2}", "+ {\"a\":3}", "refused because \"never\", expected \"no\""];
        assert_eq!(compare(&case, &[processed]), expected);
        assert_eq!(compare(&case, &[]).len(), 3);
    }
}
