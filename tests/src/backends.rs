//! The example backends of third parties, on which clusters of cases can run in place of nodes.

use std::{env, path::PathBuf};

use serde_json::{Value, json};

use crate::{root, tell};

/// What names the backend on which clusters run: `library` or `python`; without it they run on nodes.
const BACKEND: &str = "TERASLICE_TEST_BACKEND";

/// Returns the library of the example in Rust, which is built beside the cases.
///
/// # Panics
///
/// When this is no test.
#[must_use]
pub fn library() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    test.parent().expect("tests lie in a folder").join("libfork_exec_backend.so")
}

/// Returns the example in Python.
#[must_use]
pub fn python() -> PathBuf {
    root().join("examples/backends/python/fork_exec.py")
}

/// Returns the keys that select a backend, called `mine`.
#[must_use]
pub fn config(backend: &Value) -> Value {
    json!({"cluster_manager_type": "mine", "cluster_backends": {"mine": backend}})
}

/// Returns the keys of the backend on which clusters run that name none; none: they run on nodes.
///
/// # Panics
///
/// When the environment names a backend that is not there.
#[must_use]
pub(crate) fn chosen() -> Option<Value> {
    let name = env::var(BACKEND).ok().filter(|name| !name.is_empty())?;
    match name.as_str() {
        "library" => Some(config(&json!({"path": library()}))),
        "python" => Some(config(&json!({"command": [python()]}))),
        _ => panic!("{BACKEND} is {name:?}, not library or python"),
    }
}

/// Tells whether clusters run on nodes; where they do not, says loudly that a case was not run.
#[must_use]
pub fn has_nodes() -> bool {
    let has = chosen().is_none();
    if !has {
        tell(&format!("NOT RUN: this case is about nodes, and {BACKEND} is set"));
    }
    has
}
