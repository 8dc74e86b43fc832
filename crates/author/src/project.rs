//! Projects of authors: made from templates, built to zips.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{c, rust};

include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// What an asset is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the guest SDK.
    Rust,
    /// C, with `teraslice.h` and no standard library.
    C,
}

const RUST: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../templates/rust/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../templates/rust/src/lib.rs.txt")),
    ("tests.yaml", include_str!("../templates/rust/tests.yaml.txt")),
];
const KIT_MANIFEST: &str = include_str!("../templates/rust/kit.toml.txt");
const C: [(&str, &str); 4] = [
    ("asset.json", include_str!("../templates/c/asset.json.txt")),
    ("operation.c", include_str!("../templates/c/operation.c.txt")),
    ("teraslice.h", include_str!("../templates/c/teraslice.h")),
    ("tests.yaml", include_str!("../templates/c/tests.yaml.txt")),
];

/// Makes a project with one operation in a new folder, which builds and passes its tests as it is.
///
/// # Errors
///
/// When the name is none, or the folder exists.
pub fn init(folder: &Path, language: Language) -> Result<()> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if !is_name {
        bail!("{name:?} is no name of an asset: use lower case letters, digits, - and _, a letter first");
    }
    if folder.exists() {
        bail!("{} exists already", folder.display());
    }
    let operation = name.replace('-', "_");
    let fill = |text: &str| text.replace("OPERATION", &operation).replace("NAME", name);
    let template: &[_] = match language {
        Language::Rust => &RUST,
        Language::C => &C,
    };
    for (file, text) in template {
        write(&folder.join(file), &fill(text))?;
    }
    write(&folder.join(".gitignore"), "/dist\n/target\n")?;
    if language == Language::Rust {
        let kit = folder.join("teraslice-guest-sdk");
        write(&kit.join("Cargo.toml"), KIT_MANIFEST)?;
        for (file, text) in KIT {
            write(&kit.join(file), text)?;
        }
    }
    Ok(())
}

/// Builds the assets of a project into its folder `dist`; returns the zips.
///
/// # Errors
///
/// When it is no project, or does not build.
pub fn build(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = folder.canonicalize().with_context(|| format!("there is no folder {}", folder.display()))?;
    let dist = folder.join("dist");
    if folder.join("Cargo.toml").is_file() {
        return rust::build_workspace(&folder, &[], &dist);
    }
    if c::is_project(&folder) {
        return Ok(vec![c::build(&folder, &dist)?]);
    }
    bail!(
        "{} is no project of an asset: it has neither Cargo.toml nor asset.json and a C file",
        folder.display()
    )
}

/// Builds a program that runs the operations of a project in Rust outside of the sandbox; returns it, or none for other
/// languages.
///
/// It is called with a number of rounds, a file with records, one a line, and then the name and the settings of each step;
/// it prints the nanoseconds of the quickest round.
///
/// # Errors
///
/// When it does not build.
pub fn native_bench(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.join("Cargo.toml").is_file() {
        return Ok(None);
    }
    let folder = folder.canonicalize()?;
    let bench = folder.join("target/native-bench");
    let package = rust::package_name(&folder)?;
    let manifest = format!(
        "[package]\nname = \"native-bench\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         asset = {{ package = {package:?}, path = {folder:?} }}\n\
         teraslice-guest-sdk = {{ path = {:?} }}\n\n[profile.release]\nopt-level = 3\nlto = \"fat\"\n\
         codegen-units = 1\n\n[workspace]\n",
        folder.join("teraslice-guest-sdk")
    );
    write(&bench.join("Cargo.toml"), &manifest)?;
    write(&bench.join("src/main.rs"), include_str!("../templates/rust/bench.rs.txt"))?;
    let built = Command::new("cargo")
        .current_dir(&bench)
        .env_remove("CARGO_TARGET_DIR")
        .args(["build", "--release", "--quiet"])
        .status()
        .context("failed to run cargo")?;
    if !built.success() {
        bail!("building the native program failed: {built}");
    }
    Ok(Some(bench.join("target/release/native-bench")))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_for_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (name, language, file) in
            [("my-asset", Language::Rust, "src/lib.rs"), ("other", Language::C, "operation.c")]
        {
            let project = folder.path().join(name);
            init(&project, language).unwrap();
            let source = fs::read_to_string(project.join(file)).unwrap();
            assert!(source.contains(&format!("\"{}\"", name.replace('-', "_"))), "{source}");
            assert!(!source.contains("OPERATION"));
            assert!(init(&project, language).unwrap_err().to_string().ends_with("exists already"));
        }
        assert!(init(&folder.path().join("My Asset"), Language::C).is_err());
        assert!(build(folder.path()).unwrap_err().to_string().contains("is no project of an asset"));
    }
}
