//! The container image: the release binary and what it needs, as an OCI archive, without container tools.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

mod archive;
mod programs;
mod reference;
mod rootfs;
#[cfg(test)]
mod tests;

use reference::Reference;
use rootfs::{Rootfs, Strip};

const NAME: &str = "teraslice:k8sdev";

/// Bytes of an archive at the most: what is larger takes nodes too long to fetch.
const ARCHIVE_LEN_MAX: usize = 60 << 20;

/// What is written, and where to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The image's name and tag.
    name: String,
    /// The program; absent: the release binary of this workspace.
    binary: Option<PathBuf>,
    /// The archive; absent: `image/teraslice.tar` where cargo builds.
    output: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments behind `cargo xtask image`.
    ///
    /// # Errors
    ///
    /// An argument is not known, is there twice, or lacks its value.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let (mut name, mut binary, mut output) = (None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let slot = match argument.as_str() {
                "--binary" => &mut binary,
                "--output" => &mut output,
                option if option.starts_with('-') => {
                    bail!("{option} is not known: there are --binary and --output")
                }
                _ => {
                    ensure!(name.is_none(), "there is one name at the most, found {argument} as well");
                    name = Some(argument);
                    continue;
                }
            };
            ensure!(slot.is_none(), "{argument} is there twice");
            let value = arguments.next().with_context(|| format!("{argument} needs a path"))?;
            *slot = Some(PathBuf::from(value));
        }
        Ok(Self { name: name.unwrap_or_else(|| NAME.to_owned()), binary, output })
    }
}

/// Writes the image and says what was written.
///
/// # Errors
///
/// The name is none, the binary or one of its libraries is missing, or the archive is too large or cannot be written.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]
pub(crate) fn make(options: &Options) -> Result<()> {
    let reference = Reference::parse(&options.name)?;
    let in_target = |path: &str| target_directory().map(|target| target.join(path));
    let binary = options.binary.clone().map_or_else(|| in_target("release/teraslice"), Ok)?;
    let output = options.output.clone().map_or_else(|| in_target("image/teraslice.tar"), Ok)?;

    let (rootfs, strip) = Rootfs::of(&binary)?;
    if strip == Strip::NotDone {
        eprintln!("warning: the image holds debug information: neither strip nor objcopy was found");
    }
    let archive = archive::write(&reference, &rootfs)?;
    let mib = archive.len().div_ceil(1 << 20);
    if archive.len() > ARCHIVE_LEN_MAX {
        bail!("the image takes {mib} MiB, more than {} MiB", ARCHIVE_LEN_MAX >> 20);
    }
    replace(&output, &archive)?;
    println!("{} ({mib} MiB): {}", output.display(), reference.qualified());
    Ok(())
}

/// Returns where cargo builds, as its environment and its configuration say.
fn target_directory() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").context("it is to be run as `cargo xtask`")?;
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("it is to be run as `cargo xtask`")?;
    let answer = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(Path::new(&here).join("Cargo.toml"))
        .output()
        .context("failed to ask cargo where it builds")?;
    let told: serde_json::Value =
        serde_json::from_slice(&answer.stdout).context("cargo does not tell where it builds")?;
    let directory = told["target_directory"].as_str().context("cargo does not tell where it builds")?;
    Ok(directory.into())
}

/// Puts a file in place whole, or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let place = || format!("failed to write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(place)?;
    let mut builder = tempfile::Builder::new();
    let file =
        builder.permissions(fs::Permissions::from_mode(0o644)).tempfile_in(folder).with_context(place)?;
    fs::write(file.path(), bytes).with_context(place)?;
    file.persist(path).with_context(place)?;
    Ok(())
}
