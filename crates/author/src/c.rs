//! Builds an asset in C: clang makes a core module, the contract is written into it, one zip comes out.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use wit_component::StringEncoding;
use wit_parser::Resolve;

use crate::bundle::{self, Manifest};

/// The contract, as it is written into modules that do not carry it.
const WIT: &str = include_str!("../../guest-sdk/wit/asset.wit");

const FLAGS: [&str; 10] = [
    "--target=wasm32",
    "-O3",
    "-Wall",
    "-Werror",
    "-ffreestanding",
    "-fno-builtin",
    "-nostdlib",
    "-mbulk-memory",
    "-msimd128",
    "-Wl,--no-entry,--strip-all",
];

/// What `asset.json` of a project in C says.
#[derive(Debug, Deserialize)]
struct Description {
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    operations: Vec<String>,
}

/// Tells whether a folder is a project in C.
pub(crate) fn is_project(folder: &Path) -> bool {
    folder.join("asset.json").is_file() && !sources(folder).is_empty()
}

/// Builds the asset of a folder into `dist`; returns the zip.
pub(crate) fn build(folder: &Path, dist: &Path) -> Result<PathBuf> {
    let path = folder.join("asset.json");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let about: Description = serde_json::from_str(&text)
        .with_context(|| format!("{} is no description of an asset", path.display()))?;
    fs::create_dir_all(dist).with_context(|| format!("failed to create {}", dist.display()))?;
    let mut module = module(folder, &dist.join(format!("{}.wasm", about.name)))?;
    embed_contract(&mut module)?;
    let Description { name, version, description, operations } = &about;
    let manifest = Manifest { name, version, description, operations };
    bundle::write(&manifest, &module, dist)
}

/// Packs a core module that has the exports of the contract.
///
/// # Errors
///
/// When it has not.
pub fn pack_module(name: &str, mut module: Vec<u8>) -> Result<Vec<u8>> {
    embed_contract(&mut module)?;
    let manifest = Manifest { name, version: "1.0.0", description: "", operations: &[] };
    bundle::pack(&manifest, &module)
}

/// Compiles the sources of a project into a core module, by way of the file `output`.
///
/// # Errors
///
/// When there is no clang, or it fails.
pub fn module(folder: &Path, output: &Path) -> Result<Vec<u8>> {
    let clang = Command::new("clang").args(FLAGS).arg("-o").arg(output).args(sources(folder)).status();
    match clang {
        Err(error) => bail!("failed to run clang ({error}): on Debian, as root, `apt-get install clang lld`"),
        Ok(status) if !status.success() => {
            bail!("clang failed ({status}); for wasm32 it needs wasm-ld: on Debian, `apt-get install lld`")
        }
        Ok(_) => {}
    }
    let module = fs::read(output).with_context(|| format!("failed to read {}", output.display()))?;
    fs::remove_file(output).with_context(|| format!("failed to remove {}", output.display()))?;
    Ok(module)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut sources: Vec<_> = files.filter(|path| path.extension() == Some(OsStr::new("c"))).collect();
    sources.sort();
    sources
}

/// Writes into a core module which contract its exports keep.
fn embed_contract(module: &mut Vec<u8>) -> Result<()> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("asset.wit", WIT).context("failed to read the contract")?;
    let world = resolve.select_world(&[package], Some("processor"))?;
    wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}
