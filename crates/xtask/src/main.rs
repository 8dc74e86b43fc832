//! Tasks of this repository: `cargo xtask assets [NAME...]`, `cargo xtask image [NAME:TAG]`.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};

mod image;

const USAGE: &str = "usage: cargo xtask assets [NAME...]    builds the assets into assets/dist
       cargo xtask image [NAME:TAG] [--binary PATH] [--output TAR]
                                       writes the release binary as a container image (teraslice:k8sdev)";

#[expect(clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("assets") => assets(&arguments.collect::<Vec<_>>()),
        Some("image") => image::Options::parse(arguments).and_then(|options| image::make(&options)),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the named assets of this repository, or all.
#[expect(clippy::print_stdout, reason = "a command line program")]
fn assets(names: &[String]) -> Result<()> {
    // Not as it was when this was compiled: checkouts may share a folder of built programs.
    let here = std::env::var("CARGO_MANIFEST_DIR").context("it is to be run as `cargo xtask`")?;
    let root = Path::new(&here).join("../../assets");
    let root = root.canonicalize().context("there is no folder assets")?;
    for zip in teraslice_author::build_workspace(&root, names, &root.join("dist"))? {
        println!("{} ({} KiB)", zip.display(), fs::metadata(&zip)?.len() / 1024);
    }
    Ok(())
}
