//! Builds packages in Rust that are assets, and packs one zip for each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    bundle::{self, Manifest},
    toolchain::{self, TARGET},
};

/// One package of the guest workspace.
struct Package {
    /// The asset's name: `package.metadata.teraslice.asset`.
    asset: String,
    version: String,
    description: String,
    /// The name of the module that cargo makes.
    module: String,
}

/// Builds the named assets of a workspace, or all, into `dist`; returns the zips.
///
/// # Errors
///
/// When cargo fails, or a module is no asset.
pub fn build_workspace(root: &Path, names: &[String], dist: &Path) -> Result<Vec<PathBuf>> {
    let packages = packages(root)?;
    if packages.is_empty() {
        bail!("no package of {} has [package.metadata.teraslice] asset = \"NAME\"", root.display());
    }
    for name in names {
        if packages.iter().all(|package| package.asset != *name) {
            let known: Vec<_> = packages.iter().map(|package| package.asset.as_str()).collect();
            bail!("unknown asset {name:?}; known: {}", known.join(", "));
        }
    }
    let target_dir = cache_dir()?.join("assets-target");
    compile(root, &target_dir)?;
    fs::create_dir_all(dist).with_context(|| format!("failed to create {}", dist.display()))?;
    let wanted = packages.iter().filter(|package| names.is_empty() || names.contains(&package.asset));
    wanted.map(|package| pack(package, &target_dir, dist)).collect()
}

/// Returns where caches live: outside the repository, so that a fresh clone finds them.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("teraslice"))
}

fn metadata(root: &Path) -> Result<Value> {
    let listed = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .context("failed to run cargo metadata")?;
    if !listed.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    Ok(serde_json::from_slice(&listed.stdout)?)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let listed = metadata(root)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |package: &Value| {
        let asset = package["metadata"]["teraslice"]["asset"].as_str()?;
        Some(Package {
            asset: asset.to_owned(),
            version: text(&package["version"]),
            description: text(&package["description"]),
            module: text(&package["name"]).replace('-', "_"),
        })
    };
    let all = listed["packages"].as_array().context("cargo metadata lists no packages")?;
    Ok(all.iter().filter_map(package).collect())
}

/// Returns the name of the package in a folder.
pub(crate) fn package_name(root: &Path) -> Result<String> {
    let listed = metadata(root)?;
    let all = listed["packages"].as_array().context("cargo metadata lists no packages")?;
    let own = root.join("Cargo.toml");
    let is_own = |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(&own);
    let package = all.iter().find(is_own).with_context(|| format!("{} has no package", own.display()))?;
    Ok(package["name"].as_str().unwrap_or_default().to_owned())
}

fn compile(root: &Path, target_dir: &Path) -> Result<()> {
    let toolchain = toolchain::find()?;
    forget_other_checkout(root, target_dir)?;
    let mut cargo = toolchain.cargo();
    cargo.current_dir(root).args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(target_dir);
    let status = cargo.status().context("failed to run cargo")?;
    if !status.success() {
        bail!("building the assets failed: {status}");
    }
    Ok(())
}

/// Removes what another checkout has built of our own packages.
///
/// Cargo knows them by their place in the checkout and by the age of their files: it would take the others' for ours.
fn forget_other_checkout(root: &Path, target_dir: &Path) -> Result<()> {
    let stamp = target_dir.join("checkout");
    let ours = root.as_os_str().as_encoded_bytes();
    if fs::read(&stamp).is_ok_and(|last| last == ours) {
        return Ok(());
    }
    if target_dir.is_dir() {
        let cleaned = Command::new("cargo")
            .current_dir(root)
            .env_remove("CARGO_TARGET_DIR")
            .args(["clean", "--quiet", "--workspace", "--package", "teraslice-guest-sdk", "--release"])
            .args(["--target", TARGET, "--target-dir"])
            .arg(target_dir)
            .status()
            .context("failed to run cargo clean")?;
        if !cleaned.success() {
            bail!("cleaning {} failed: {cleaned}", target_dir.display());
        }
    }
    fs::create_dir_all(target_dir).with_context(|| format!("failed to create {}", target_dir.display()))?;
    fs::write(&stamp, ours).with_context(|| format!("failed to write {}", stamp.display()))
}

fn pack(package: &Package, target_dir: &Path, dist: &Path) -> Result<PathBuf> {
    let module = target_dir.join(TARGET).join("release").join(format!("{}.wasm", package.module));
    let module = fs::read(&module).with_context(|| format!("failed to read {}", module.display()))?;
    let manifest = Manifest {
        name: &package.asset,
        version: &package.version,
        description: &package.description,
        operations: &[],
    };
    bundle::write(&manifest, &module, dist)
}
