//! What other programs know about a binary: which libraries it loads, and what it is without debug information.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Returns the libraries that a binary loads, the loader itself among them; none if it is linked statically.
///
/// # Errors
///
/// `ldd` is not there, or does not find one of them.
pub(super) fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let answer = Command::new("ldd").arg(binary).output().context("failed to run ldd")?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let told = String::from_utf8_lossy(&answer.stderr);
    if text.contains("statically linked") || told.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    ensure!(answer.status.success(), "ldd failed on {}: {}", binary.display(), told.trim());
    libraries_in(&text)
}

/// Reads the lines of `ldd`.
///
/// ```text
/// linux-vdso.so.1 (0x7ffd..)                               of the kernel: no file
/// libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f..)
/// /lib64/ld-linux-x86-64.so.2 (0x7f..)
/// libx.so => not found
/// ```
pub(super) fn libraries_in(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place.starts_with("not found") {
            bail!("the library {name} was not found");
        }
        let path = place.rsplit_once(" (").map_or(place, |(path, _)| path);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

/// Returns a binary without debug information (the names of functions stay, for traces); `None` if no tool is there.
///
/// # Errors
///
/// A tool failed.
pub(super) fn stripped(binary: &Path) -> Result<Option<Vec<u8>>> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let output = folder.path().join("stripped");
    for tool in ["strip", "objcopy", "llvm-strip", "llvm-objcopy"] {
        let mut command = Command::new(tool);
        command.arg("--strip-debug").stdin(Stdio::null());
        if tool.ends_with("strip") {
            command.arg("-o").arg(&output).arg(binary);
        } else {
            command.arg(binary).arg(&output);
        }
        match command.status() {
            Ok(status) => {
                ensure!(status.success(), "{tool} failed on {}: {status}", binary.display());
                let bytes = fs::read(&output).with_context(|| format!("{tool} has written nothing"))?;
                return Ok(Some(bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to run {tool}")),
        }
    }
    Ok(None)
}
