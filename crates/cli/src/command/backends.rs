//! `teraslice backends`: lists and checks cluster backends of third parties, and begins new ones.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    panic,
    path::{Path, PathBuf},
};

use serde_json::json;
use teraslice_core::context::Context;
use teraslice_model::problem::Problem;
use teraslice_node::{
    backends::{self, Listed, Verdict},
    exit_code,
};

use super::session::{Session, runtime};
use crate::{
    args::backends::{Backends, Language},
    failure::Failure,
    output,
    table::{Align, Table},
};

/// The files of a template: a name, a content, whether it is a program.
type Template = [(&'static str, &'static str, bool)];

const RUST: &Template = &[
    ("Cargo.toml", include_str!("../../templates/backend/Cargo.toml.txt"), false),
    ("src/lib.rs", include_str!("../../templates/backend/lib.rs.txt"), false),
];
const PYTHON: &Template =
    &[("backend.py", include_str!("../../../../examples/backends/python/fork_exec.py"), true)];

/// Lists, checks or begins; returns the exit code.
pub(crate) fn execute(
    command: &Backends,
    session: impl FnOnce() -> Result<Session, Failure>,
) -> Result<u8, Failure> {
    match command {
        Backends::List => list(&session()?),
        Backends::Check { name } => check(&session()?, name),
        Backends::Init { folder, language, sdk } => init(folder, *language, sdk),
    }
}

fn list(session: &Session) -> Result<u8, Failure> {
    session.start_log(None)?;
    let config = session.parts.config();
    let listed = runtime(None)?.block_on(async { backends::list(config, &Context::system()).await });
    let listed = listed.map_err(of_io)?;
    output::print(session.output(), &listed, || render(&listed))?;
    let is_well = listed.iter().all(|it| it.error.is_none());
    Ok(if is_well { exit_code::DONE } else { exit_code::REFUSED })
}

fn render(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "the configuration names no backends under cluster_backends\n".to_owned();
    }
    let headings = ["name", "used", "transport", "place", "state"];
    let mut table = Table::new(&headings.map(|heading| (heading, Align::Left)));
    for it in listed {
        let state = match (&it.description, &it.error) {
            (Some(about), _) => format!("{} {}", text(&about["name"]), text(&about["version"])),
            (None, error) => error.clone().unwrap_or_default(),
        };
        let used = if it.is_used { "yes" } else { "no" };
        table.row([it.name.clone(), used.to_owned(), it.transport.to_owned(), it.place.clone(), state]);
    }
    table.render()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn check(session: &Session, name: &str) -> Result<u8, Failure> {
    session.start_log(None)?;
    let all = &session.parts.config().cluster_backends;
    let Some(backend) = all.get(name) else {
        let known: Vec<_> = all.keys().map(String::as_str).collect();
        let pointer = "/teraslice/cluster_backends";
        let problem = Problem::unknown(pointer, "cluster backend", name, &known);
        return Err(Failure::text(exit_code::BAD_JOB, problem.to_string()));
    };
    // A law that is broken panics; what it says is shown as its verdict.
    panic::set_hook(Box::new(|_| {}));
    let runtime = runtime(None)?;
    let verdicts = runtime.block_on(async {
        let tell = |verdict: &Verdict| session.screen.say(&line(verdict));
        Box::pin(backends::check(name, backend, &Context::system(), tell)).await
    });
    let _default = panic::take_hook();
    runtime.shutdown_background();
    let verdicts = verdicts.map_err(of_io)?;
    let broken = verdicts.iter().filter(|verdict| verdict.broken.is_some()).count();
    let laws: Vec<_> = verdicts.iter().map(|it| json!({"law": it.law, "broken": it.broken})).collect();
    let document = json!({"name": name, "laws": laws, "broken": broken});
    output::print(session.output(), &document, || match broken {
        0 => format!("{name} keeps all {} laws\n", verdicts.len()),
        count => format!("{name} breaks {count} of {} laws\n", verdicts.len()),
    })?;
    Ok(if broken == 0 { exit_code::DONE } else { exit_code::REFUSED })
}

fn line(verdict: &Verdict) -> String {
    let law = verdict.law.replace('_', " ");
    match &verdict.broken {
        None => format!("ok    {law}"),
        Some(broken) => format!("FAIL  {law}: {broken}"),
    }
}

fn init(folder: &Path, language: Language, sdk: &Path) -> Result<u8, Failure> {
    let failed = |path: PathBuf| {
        move |error: io::Error| {
            let error = anyhow::Error::new(error).context(format!("failed to write {}", path.display()));
            Failure::new(exit_code::BAD_JOB, error)
        }
    };
    if folder.exists() {
        let message = format!("{} is there already", folder.display());
        return Err(
            Failure::text(exit_code::BAD_JOB, message).with_hint("name a folder that is not there yet")
        );
    }
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !is_name(name) {
        let message = format!("a backend cannot be called {name:?}");
        return Err(Failure::text(exit_code::BAD_JOB, message)
            .with_hint("a name has lower case letters, digits and -, such as my-backend"));
    }
    let template = if language == Language::Rust { RUST } else { PYTHON };
    for (file, content, is_program) in template {
        let path = folder.join(file);
        let content = content.replace("{{name}}", name).replace("{{sdk}}", &sdk.display().to_string());
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed(path.clone()))?;
        fs::write(&path, content).map_err(failed(path.clone()))?;
        let mode = if *is_program { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed(path.clone()))?;
        output::write_line(&path.display().to_string())?;
    }
    Ok(exit_code::DONE)
}

fn of_io(error: io::Error) -> Failure {
    Failure::new(exit_code::STATE, anyhow::Error::new(error).context("failed to make a temporary folder"))
}
