//! Tasks of this repository: `cargo xtask assets [NAME...]`.

mod assets;
mod bundle;
mod toolchain;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask assets [NAME...]    builds the assets into assets/dist";

#[expect(clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("assets") => assets::build(&arguments.collect::<Vec<_>>()),
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
