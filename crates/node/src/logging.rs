//! Logs: text or JSON lines, at one level or at one per part, to a writer and into a file.

mod file;

use std::{io, path::PathBuf, str::FromStr, sync::OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::traces::Traces;
use file::LogFile;

/// Change the levels of a log that has started, one for each place that it goes to.
static LEVELS: OnceLock<Vec<reload::Handle<Targets, Registry>>> = OnceLock::new();

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
    /// Whether lines go to the writer.
    pub has_console: bool,
    /// The file that they go to as well.
    pub file: Option<FileOptions>,
}

/// A log file: lines of JSON, which say which process they come from.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The folder of `teraslice.log`.
    pub folder: PathBuf,
    /// As the level of [`LogOptions`].
    pub level: String,
    /// The role of the process.
    pub assignment: &'static str,
}

/// A level that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {level:?}: known are trace, debug, info, warn, error, fatal, off")]
pub struct UnknownLevel {
    /// As given.
    pub level: String,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A level is none.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// The file cannot be written.
    #[error("failed to open the log file {path} (see terafoundation.log_path)", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging for the whole process, and the making of spans if somebody takes them; a second call does nothing.
///
/// # Errors
///
/// See [`LogError`].
pub fn start<W>(options: &LogOptions, writer: W, traces: Option<&Traces>) -> Result<(), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A list, as what is not there must not be asked: spans that nobody takes cost nothing.
    let (mut layers, mut levels) = (Vec::<Lines>::new(), Vec::new());
    if options.has_console {
        let (filter, level) = reload::Layer::new(filter(&options.level)?);
        let text = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(options.has_colours);
        levels.push(level);
        layers.push(match options.format {
            LogFormat::Text => text.with_filter(filter).boxed(),
            LogFormat::Json => {
                let json = text.json().flatten_event(true).with_current_span(true).with_span_list(false);
                json.with_filter(filter).boxed()
            }
        });
    }
    if let Some(options) = &options.file {
        let (filter, level) = reload::Layer::new(filter(&options.level)?);
        let file = LogFile::open(&options.folder, options.assignment)
            .map_err(|(path, source)| LogError::File { path, source })?;
        let lines = tracing_subscriber::fmt::layer().with_writer(file).with_ansi(false).json();
        let lines = lines.flatten_event(true).with_current_span(true).with_span_list(false);
        levels.push(level);
        layers.push(lines.with_filter(filter).boxed());
    }
    layers.extend(traces.map(|traces| traces.layer().boxed()));
    // Somebody else may have started logging before, as tests do.
    if tracing_subscriber::registry().with(layers).try_init().is_ok() {
        let _first = LEVELS.set(levels);
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
    for handle in LEVELS.get().into_iter().flatten() {
        // It fails only after the end of logging.
        let _over = handle.reload(filter.clone());
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
    let levels = Targets::from_str(&parts.join(",")).map_err(|_| unknown())?;
    // Spans for traces are none of the log's.
    Ok(levels.with_target(teraslice_core::trace::TARGET, LevelFilter::OFF))
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
    fn leaves_spans_for_traces_out() {
        let levels = filter("trace").unwrap();
        assert!(levels.would_enable("teraslice_core::worker", &Level::TRACE));
        assert!(!levels.would_enable(teraslice_core::trace::TARGET, &Level::TRACE));
    }

    #[test]
    fn refuses_a_level_that_is_none() {
        for wrong in ["loud", "", "warn,core=loud", "core"] {
            assert_eq!(filter(wrong).unwrap_err().level, wrong);
        }
    }
}
