//! Where logs go, and at which levels.

use std::path::PathBuf;

use serde_json::Value;
use teraslice_model::problem::Problem;

use super::{
    keys::Report,
    values::{Set, level, text},
};

/// Where logs go (`terafoundation.logging`, `log_path`, `log_level`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Whether to stderr (`console` in `logging`; the default).
    pub has_console: bool,
    /// The level there, if the file says so.
    pub level: Option<String>,
    /// The folder of the log file, for roles of a cluster (`file` in `logging`).
    pub folder: Option<PathBuf>,
    /// The level in the file, if the configuration says so.
    pub file_level: Option<String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { has_console: true, level: None, folder: None, file_level: None }
    }
}

impl LogConfig {
    pub(super) fn of(foundation: &Set<'_>, report: &mut Report) -> Self {
        let entries = foundation.get("logging").and_then(|value| value.as_array());
        let is_known = |entry: &Value| matches!(entry.as_str(), Some("console" | "file"));
        if let Some(entries) = entries
            && (entries.is_empty() || !entries.iter().all(is_known))
        {
            let found = Value::from(entries.clone());
            let message = format!("logging must be a list of console, file or both, found {found}");
            report.problems.push(Problem::new("/terafoundation/logging", message));
        }
        let names = |name: &str| entries.map(|entries| entries.iter().any(|entry| entry == name));
        let levels = foundation.get("log_level");
        let folder = || text(foundation, "log_path").map_or_else(|| PathBuf::from("."), PathBuf::from);
        Self {
            has_console: names("console").unwrap_or(true),
            level: levels.and_then(|value| level(value, "console")),
            folder: names("file").unwrap_or(false).then(folder),
            file_level: levels.and_then(|value| level(value, "file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(foundation: &Value) -> (LogConfig, Vec<String>) {
        let keys = ["logging", "log_path", "log_level"];
        let set = keys.into_iter().filter_map(|key| Some((key, foundation.get(key)?))).collect();
        let mut report = Report::default();
        let config = LogConfig::of(&set, &mut report);
        (config, report.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn logs_to_stderr_into_a_file_or_both() {
        assert_eq!(of(&json!({})), (LogConfig::default(), Vec::new()));
        let (file, _) = of(&json!({"logging": ["file"], "log_path": "/logs", "log_level": "warn"}));
        assert_eq!((file.has_console, file.folder), (false, Some(PathBuf::from("/logs"))));
        assert_eq!(file.file_level.as_deref(), Some("warn"));
        let levels = json!([{"console": "warn"}, {"file": "debug"}]);
        let (both, problems) = of(&json!({"logging": ["console", "file"], "log_level": levels}));
        assert_eq!((both.has_console, both.folder), (true, Some(PathBuf::from("."))));
        assert_eq!((both.level.as_deref(), both.file_level.as_deref()), (Some("warn"), Some("debug")));
        assert!(problems.is_empty());
    }

    #[test]
    fn names_what_is_no_place_for_logs() {
        for (wrong, shown) in [(json!([]), "[]"), (json!(["console", "syslog"]), r#"["console","syslog"]"#)] {
            let (_, problems) = of(&json!({"logging": wrong}));
            let expected = format!(
                "/terafoundation/logging: logging must be a list of console, file or both, found {shown}"
            );
            assert_eq!(problems, [expected]);
        }
    }
}
