//! `teraslice assets bench`: how quick operations are, in the sandbox and outside of it.

use std::{fs, path::Path, process::Command, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};
use teraslice_core::{
    context::Context,
    operation::{OperationError, ProcessorFactory},
    registry::Asset as _,
};
use teraslice_model::batch::{Batch, Frame};
use teraslice_node::exit_code;
use teraslice_runtime_wasm::Tier;

use super::{Found, bad, find, load, named_step, slice, step, test};
use crate::{
    args::BenchAsset,
    command::session::Session,
    failure::Failure,
    output,
    table::{Align, Table},
};

/// The quickest of so many rounds counts.
const ROUNDS: u32 = 7;
/// Records that are made up.
const RECORDS: usize = 20_000;
/// Calls with one record each.
const CALLS: u32 = 2_000;

/// How quick a chain is in one place.
#[derive(Debug, Serialize)]
struct Measured {
    place: &'static str,
    records_per_second: f64,
    mib_per_second: f64,
    nanos_per_record: f64,
    /// Of a call with one record; absent outside of the sandbox.
    micros_per_call: Option<f64>,
    /// Against the same code outside of the sandbox.
    ratio_to_native: Option<f64>,
}

/// Measures; returns the exit code.
pub(super) fn execute(session: &Session, arguments: &BenchAsset) -> Result<u8, Failure> {
    let Found { bundle, project } = find(session, &arguments.asset)?;
    let steps = match &arguments.op {
        Some(op) => vec![named_step(op, &arguments.settings)?],
        None => first_case(project.as_deref())?,
    };
    let records = records(arguments.records.as_deref())?;
    let bytes: usize = records.iter().map(String::len).sum();
    let native = match &project {
        Some(project) => native(project, &steps, &records)?,
        None => None,
    };
    let measured = |place, best: Duration, micros_per_call| {
        let seconds = best.as_secs_f64();
        Measured {
            place,
            records_per_second: records.len() as f64 / seconds,
            mib_per_second: bytes as f64 / seconds / f64::from(1 << 20),
            nanos_per_record: seconds * 1e9 / records.len() as f64,
            micros_per_call,
            ratio_to_native: native.map(|native| native.as_secs_f64() / seconds),
        }
    };
    let mut all = Vec::new();
    for (place, tier) in [("sandbox, default", Tier::Default), ("sandbox, trusted", Tier::Trusted)] {
        let asset = load(session, bundle.clone(), tier)?;
        let configs = steps.iter().map(step).collect::<Result<Vec<_>, _>>()?;
        let chain = asset.chain(&configs).map_err(|problems| {
            Failure::text(exit_code::BAD_JOB, "the steps have problems").with_problems(problems)
        })?;
        let best = sandboxed(chain.as_ref(), &records).map_err(failed)?;
        let call = one_by_one(chain.as_ref(), &records[0]).map_err(failed)?;
        all.push(measured(place, best, Some(call.as_secs_f64() * 1e6)));
    }
    all.extend(native.map(|native| measured("native", native, None)));
    output::print(session.output(), &all, || render(&all))?;
    Ok(exit_code::DONE)
}

fn first_case(project: Option<&Path>) -> Result<Vec<Map<String, Value>>, Failure> {
    let cases = test::read_all(project, &[])?;
    let first = cases.into_iter().next();
    first.map(|case| case.steps).ok_or_else(|| {
        Failure::text(exit_code::BAD_JOB, "there is no case to take steps from")
            .with_hint("name an operation: --op")
    })
}

/// Reads records, or makes some of about 300 bytes.
fn records(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else { return Ok((0..RECORDS).map(made_up).collect()) };
    let text = fs::read_to_string(file).map_err(|error| {
        bad(anyhow::Error::new(error).context(format!("failed to read records from {}", file.display())))
    })?;
    let records: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    match records.is_empty() {
        true => Err(Failure::text(exit_code::BAD_JOB, format!("{} has no records", file.display()))),
        false => Ok(records),
    }
}

fn made_up(n: usize) -> String {
    format!(
        "{{\"id\":{n},\"name\":\"  name {n} \",\"status\":{},\"time\":\"2026-11-22T10:{:02}:{:02}.000Z\",\
         \"tags\":[\"a\",\"b\",\"c\"],\"address\":{{\"city\":\"city {}\",\"zip\":\"{n:05}\"}},\
         \"text\":\"some text that is as long as texts in records are, give or take a few words\",\"amount\":{}.5}}",
        n % 7,
        n / 60 % 60,
        n % 60,
        n % 100,
        n % 1_000
    )
}

fn batches(records: &[String]) -> Result<Vec<Batch>, OperationError> {
    let frames = records.chunks(Batch::RECORDS_MAX).map(Frame::of);
    let frames =
        frames.collect::<Result<Vec<_>, _>>().map_err(|error| OperationError::slice(error.to_string()))?;
    Ok(frames.into_iter().flat_map(|frame| Batch::new(frame).split()).collect())
}

fn sandboxed(chain: &dyn ProcessorFactory, records: &[String]) -> Result<Duration, OperationError> {
    let (context, batches, slice) = (Context::system(), batches(records)?, slice());
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut processor = chain.open(&slice)?;
        let start = context.now();
        for batch in &batches {
            std::hint::black_box(processor.process(batch)?);
        }
        std::hint::black_box(processor.finish()?);
        best = best.min(context.now() - start);
    }
    Ok(best)
}

fn one_by_one(chain: &dyn ProcessorFactory, record: &String) -> Result<Duration, OperationError> {
    let (context, slice) = (Context::system(), slice());
    let batches = batches(std::slice::from_ref(record))?;
    let mut processor = chain.open(&slice)?;
    let start = context.now();
    for _ in 0..CALLS {
        std::hint::black_box(processor.process(&batches[0])?);
    }
    Ok((context.now() - start) / CALLS)
}

/// Runs the same operations as a program of their own.
fn native(
    project: &Path,
    steps: &[Map<String, Value>],
    records: &[String],
) -> Result<Option<Duration>, Failure> {
    let Some(program) = teraslice_author::native_bench(project).map_err(bad)? else { return Ok(None) };
    let input = program.with_file_name("records.ldjson");
    fs::write(&input, records.join("\n")).map_err(|error| bad(error.into()))?;
    let mut command = Command::new(program);
    command.arg(ROUNDS.to_string()).arg(input);
    for named in steps {
        let config = step(named)?;
        command.arg(config.op).arg(Value::Object(config.settings).to_string());
    }
    let ran = command.output().map_err(|error| bad(error.into()))?;
    let nanos = String::from_utf8_lossy(&ran.stdout).trim().parse().map_err(|_| {
        let said = String::from_utf8_lossy(&ran.stderr);
        Failure::text(exit_code::BAD_JOB, format!("the native program failed: {}", said.trim()))
    })?;
    Ok(Some(Duration::from_nanos(nanos)))
}

fn failed(error: OperationError) -> Failure {
    Failure::new(exit_code::FAILED, error)
}

fn render(all: &[Measured]) -> String {
    let right = Align::Right;
    let mut table = Table::new(&[
        ("where", Align::Left),
        ("records/s", right),
        ("MiB/s", right),
        ("ns/record", right),
        ("us/call", right),
        ("x native", right),
    ]);
    for measured in all {
        let or_blank = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
        table.row([
            measured.place.to_owned(),
            format!("{:.0}", measured.records_per_second),
            format!("{:.0}", measured.mib_per_second),
            format!("{:.0}", measured.nanos_per_record),
            or_blank(measured.micros_per_call),
            or_blank(measured.ratio_to_native),
        ]);
    }
    table.render()
}
