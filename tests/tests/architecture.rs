//! The rules of the house that no lint can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand};
use teraslice_tests::root;

/// Lines of a source file without its tests.
const LINES_MAX: usize = 500;

/// Each crate may depend on these of ours, and on no other.
const MAY_USE: [(&str, &[&str]); 22] = [
    ("author", &[]),
    ("model", &[]),
    ("guest-sdk", &[]),
    ("core", &["model"]),
    ("elastic", &["model"]),
    ("store", &["core", "elastic", "model"]),
    ("connectors", &["core", "elastic", "model"]),
    ("runtime-wasm", &["core", "model"]),
    ("backend-native", &["core", "model"]),
    ("backend-sim", &["core", "model", "store", "backend-native"]),
    ("backend-k8s", &["core", "model"]),
    ("plugin-sdk", &[]),
    ("backend-plugin", &["core", "model", "plugin-sdk"]),
    ("fork-exec-backend", &["plugin-sdk"]),
    ("rpc", &["core", "model"]),
    ("api", &["model"]),
    ("server", &["api", "core", "model"]),
    (
        "node",
        &[
            "core",
            "elastic",
            "model",
            "store",
            "connectors",
            "runtime-wasm",
            "backend-native",
            "backend-k8s",
            "backend-plugin",
            "rpc",
            "api",
            "server",
        ],
    ),
    ("cli", &["api", "author", "node", "runtime-wasm", "backend-sim", "core", "model"]),
    ("xtask", &["author"]),
    ("tests", &["model"]),
    (
        "benches",
        &["backend-plugin", "core", "elastic", "model", "store", "connectors", "runtime-wasm", "rpc"],
    ),
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().expect("cargo metadata answers")
}

/// Returns who of ours depends on whom, without dependencies of tests.
fn dependencies(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let ours = |name: &str| name.strip_prefix("teraslice-").map(str::to_owned);
    let package = |package: &cargo_metadata::Package| {
        let name = ours(&package.name).unwrap_or_else(|| package.name.to_string());
        let normal = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
        (name, normal.filter_map(|d| ours(&d.name)).collect())
    };
    metadata.workspace_packages().into_iter().map(package).collect()
}

fn sources() -> Vec<PathBuf> {
    let mut folders =
        ["crates", "assets", "benches", "examples/backends", "tests"].map(|name| root().join(name)).to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("folders can be listed").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path);
            }
        }
    }
    assert!(sources.len() > 100, "the sources were found");
    sources
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.components().any(|part| part.as_os_str() == "tests") || name.ends_with("tests")
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let allowed: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    for (name, uses) in dependencies(&metadata()) {
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no rule"));
        for used in uses {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
    }
}

#[test]
fn only_the_runtime_depends_on_wasmtime() {
    for package in metadata().workspace_packages() {
        // A bench may hold the runtime against the bare thing.
        let is_used = |dependency: &&Dependency| dependency.kind == DependencyKind::Normal;
        let uses =
            package.dependencies.iter().filter(is_used).any(|dependency| dependency.name == "wasmtime");
        assert_eq!(uses, package.name.as_str() == "teraslice-runtime-wasm", "{}", package.name);
    }
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package.name);
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let is_included = is_test(&path) && !text.starts_with("//!");
        assert!(text.starts_with("//! ") || is_included, "{} does not open with `//! `", path.display());
    }
}

#[test]
fn no_file_is_longer_than_the_limit() {
    for path in sources().into_iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, at most {LINES_MAX} are allowed", path.display());
    }
}

#[test]
fn no_folder_has_a_mod_file() {
    for path in sources() {
        assert!(!path.ends_with("mod.rs"), "{}", path.display());
    }
}
