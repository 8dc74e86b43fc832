//! `teraslice assets`: tools for authors of assets.

mod bench;
mod delete;
mod deploy;
mod inspect;
mod list;
mod release;
mod test;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use teraslice_core::operation::SliceContext;
use teraslice_model::{
    id::{ExId, JobId, WorkerId},
    job::{Encoding, OperationConfig, Sandbox},
    slice::{Request, Slice},
    timestamp::Timestamp,
};
use teraslice_node::exit_code;
use teraslice_runtime_wasm::{Bundle, Tier, WasmAsset};

use super::session::Session;
use crate::{
    args::{Assets, Common, Language},
    failure::Failure,
    output,
};

/// Instances at once: one chain at work, and one that takes over.
const SLOTS: usize = 4;

/// An asset, and the project that it was built from.
struct Found {
    bundle: Bundle,
    project: Option<PathBuf>,
}

/// Runs a command about assets; returns the exit code. A session is started only for work on this machine.
pub(crate) fn execute(
    common: &Common,
    command: &Assets,
    session: impl FnOnce() -> Result<Session, Failure>,
) -> Result<u8, Failure> {
    let local = || {
        let session = session()?;
        session.start_log(None)?;
        Ok::<_, Failure>(session)
    };
    match command {
        Assets::Init { folder, language } => init(&local()?, folder, *language),
        Assets::Build { folder } => build(&local()?, folder),
        Assets::Test(arguments) => test::execute(&local()?, arguments),
        Assets::Inspect { asset } => inspect::execute(&local()?, asset),
        Assets::Bench(arguments) => bench::execute(&local()?, arguments),
        Assets::Deploy(arguments) => deploy::execute(common, arguments),
        Assets::List(arguments) => list::execute(common, arguments),
        Assets::Delete(arguments) => delete::execute(common, arguments),
    }
}

fn init(session: &Session, folder: &Path, language: Language) -> Result<u8, Failure> {
    let language = match language {
        Language::Rust => teraslice_author::Language::Rust,
        Language::C => teraslice_author::Language::C,
    };
    teraslice_author::init(folder, language).map_err(bad)?;
    session.screen.say(&format!("made {}: try `teraslice assets test {0}`", folder.display()));
    Ok(exit_code::DONE)
}

fn build(session: &Session, folder: &Path) -> Result<u8, Failure> {
    let zips = teraslice_author::build(folder).map_err(bad)?;
    output::print(session.output(), &zips, || {
        zips.iter().map(|zip| format!("{}\n", zip.display())).collect()
    })?;
    Ok(exit_code::DONE)
}

/// Finds an asset: a project is built, a zip is read, a name is looked up as for a job.
fn find(session: &Session, asset: &Path) -> Result<Found, Failure> {
    if asset.is_dir() {
        let zips = teraslice_author::build(asset).map_err(bad)?;
        let [zip] = zips.as_slice() else {
            return Err(Failure::text(
                exit_code::BAD_JOB,
                format!("{} has several assets: name a zip", asset.display()),
            ));
        };
        return Ok(Found { bundle: read(zip)?, project: Some(asset.to_owned()) });
    }
    let name = asset.to_string_lossy();
    let is_path = asset.is_file() || name.contains('/') || name.ends_with(".zip");
    let bundle = match is_path {
        true => read(asset)?,
        false => session.parts.bundle(&name).map_err(|problem| {
            Failure::text(exit_code::BAD_JOB, format!("there is no asset {name:?}"))
                .with_problems(vec![problem])
        })?,
    };
    Ok(Found { bundle, project: None })
}

fn read(zip: &Path) -> Result<Bundle, Failure> {
    let failed = |error: anyhow::Error| {
        Failure::new(exit_code::BAD_JOB, error.context(format!("failed to read asset {}", zip.display())))
    };
    let bytes = fs::read(zip).map_err(|error| failed(error.into()))?;
    Bundle::read(&bytes).map_err(|error| failed(error.into()))
}

/// Loads an asset into a sandbox of its own.
fn load(session: &Session, bundle: Bundle, tier: Tier) -> Result<WasmAsset, Failure> {
    let runtime = session.parts.sandbox(&Sandbox::default(), SLOTS, tier).map_err(|problems| {
        Failure::text(exit_code::INTERNAL, "failed to start the sandbox").with_problems(problems)
    })?;
    runtime.load(bundle).map_err(|error| Failure::new(exit_code::BAD_JOB, error))
}

/// Reads a step as it stands in a job: `_op` and its settings.
fn step(step: &Map<String, Value>) -> Result<OperationConfig, Failure> {
    let Some(op) = step.get("_op").and_then(Value::as_str) else {
        return Err(Failure::text(exit_code::BAD_JOB, "a step has no _op, the name of its operation"));
    };
    let settings = step.iter().filter(|(key, _)| !key.starts_with('_'));
    Ok(OperationConfig {
        op: op.to_owned(),
        asset: None,
        encoding: Encoding::Json,
        dead_letter_action: None,
        api_name: None,
        connection: None,
        settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
    })
}

/// Reads the value of an argument.
fn parse(argument: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(
            exit_code::BAD_JOB,
            anyhow::Error::new(error).context(format!("{argument} is no JSON: {text}")),
        )
    })
}

/// Returns an operation with settings, both from arguments.
fn named_step(op: &str, config: &str) -> Result<Map<String, Value>, Failure> {
    let Value::Object(mut step) = parse("--settings", config)? else {
        return Err(Failure::text(exit_code::BAD_JOB, format!("--settings is no JSON object: {config}")));
    };
    step.insert("_op".to_owned(), op.into());
    Ok(step)
}

/// Returns a slice to run: the same each time.
fn slice() -> SliceContext {
    let ex_id = ExId::from_random([0; 16]);
    SliceContext {
        ex_id,
        job_id: JobId::from_random([0; 16]),
        worker: WorkerId::new("assets"),
        slice: Slice::new(ex_id, 0, 1, Request::from_json("{}"), Timestamp::default()),
        attempt: 0,
    }
}

fn bad(error: anyhow::Error) -> Failure {
    Failure::new(exit_code::BAD_JOB, error)
}
