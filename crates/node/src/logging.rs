//! Logs: text or JSON lines, at one level or at one per part.

use std::{str::FromStr, sync::OnceLock};

use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// Changes the level of a log that has started.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What to log, and how.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How the lines look.
    pub format: LogFormat,
    /// A level such as `info`, or levels per part such as `warn,teraslice_core=debug`.
    pub level: String,
    /// Whether text is coloured.
    pub has_colours: bool,
}

/// A level that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {level:?}: known are trace, debug, info, warn, error, fatal, off")]
pub struct UnknownLevel {
    /// As given.
    pub level: String,
}

/// Starts logging for the whole process; a second call does nothing.
///
/// # Errors
///
/// When the level is none.
pub fn start<W>(options: &LogOptions, writer: W) -> Result<(), UnknownLevel>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, level) = reload::Layer::new(filter(&options.level)?);
    let text = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(options.has_colours);
    let started = match options.format {
        LogFormat::Text => tracing_subscriber::registry().with(text.with_filter(filter)).try_init(),
        LogFormat::Json => {
            let json = text.json().flatten_event(true).with_current_span(true).with_span_list(false);
            tracing_subscriber::registry().with(json.with_filter(filter)).try_init()
        }
    };
    // Somebody else may have started logging before, as tests do.
    if started.is_ok() {
        let _first = LEVEL.set(level);
    }
    Ok(())
}

/// Logs at another level from now on.
///
/// # Errors
///
/// When the level is none.
pub fn set_level(level: &str) -> Result<(), UnknownLevel> {
    let filter = filter(level)?;
    if let Some(handle) = LEVEL.get() {
        // It fails only after the end of logging.
        let _over = handle.reload(filter);
    }
    Ok(())
}

/// Reads a level or a list of levels; `fatal`, which the original knows, is `error`.
fn filter(level: &str) -> Result<Targets, UnknownLevel> {
    let unknown = || UnknownLevel { level: level.to_owned() };
    let is_level =
        |word: &str| matches!(word, "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "off");
    let parts = level.split(',').map(|part| {
        let word = part.rsplit('=').next().unwrap_or(part);
        let is_fatal = word == "fatal";
        is_level(word).then(|| if is_fatal { part.replace("fatal", "error") } else { part.to_owned() })
    });
    let parts: Vec<_> = parts.collect::<Option<_>>().ok_or_else(unknown)?;
    Targets::from_str(&parts.join(",")).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn reads_one_level_and_levels_per_part() {
        assert!(filter("info").unwrap().would_enable("teraslice_core", &Level::INFO));
        let levels = filter("warn,teraslice_core=debug").unwrap();
        assert!(levels.would_enable("teraslice_core::worker", &Level::DEBUG));
        assert!(!levels.would_enable("teraslice_store", &Level::INFO));
        assert!(filter("fatal").unwrap().would_enable("any", &Level::ERROR));
    }

    #[test]
    fn refuses_a_level_that_is_none() {
        for wrong in ["loud", "", "warn,core=loud", "core"] {
            assert_eq!(filter(wrong).unwrap_err().level, wrong);
        }
    }
}
