//! `teraslice config`: check, show and explain the configuration.

use teraslice_node::{config, exit_code};

use super::session::Session;
use crate::{args::roles::Config, failure::Failure, output};

/// Checks, shows or explains; returns the exit code.
pub(crate) fn execute(session: &Session, command: &Config) -> Result<u8, Failure> {
    let loaded = session.parts.config();
    match command {
        Config::Reference => output::write_line(config::reference().trim())?,
        Config::Show => {
            let shown = loaded.document();
            output::print(session.output(), &shown, || format!("{shown:#}\n"))?;
        }
        Config::Check => {
            let file =
                loaded.path.as_ref().map_or("the defaults".to_owned(), |path| path.display().to_string());
            if !loaded.warnings.is_empty() {
                let failure =
                    Failure::text(exit_code::BAD_CONFIG, format!("the configuration {file} is wrong"));
                return Err(failure.with_problems(loaded.warnings.clone()));
            }
            for note in &loaded.without_effect {
                session.screen.say(&format!("note: {note}"));
            }
            output::write_line(&format!("{file}: right"))?;
        }
    }
    Ok(exit_code::DONE)
}
