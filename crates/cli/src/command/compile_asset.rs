//! `teraslice compile-asset`: the compiler's own process. Started by whatever loads assets, not by people.

use std::io::Write as _;

use teraslice_node::{exit_code, parts::compiler};

/// Compiles the module on standard input; returns the exit code.
pub(crate) fn execute(arguments: &[String]) -> u8 {
    match compiler::serve(arguments) {
        Ok(()) => exit_code::DONE,
        Err(reason) => {
            // Nobody is left to tell when stderr is gone.
            let _gone = std::io::stderr().write_all(reason.as_bytes());
            exit_code::FAILED
        }
    }
}
