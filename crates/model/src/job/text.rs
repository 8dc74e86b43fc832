//! Jobs as text: JSON or YAML, by the file's extension.

use std::path::Path;

use serde_json::Value;

use super::RawJob;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// Tells the format by a file's extension: `yaml` and `yml` are YAML, anything else is JSON.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    ///
    /// When the text breaks the rules of the format; with the place.
    pub fn parse(self, text: &str) -> Result<Value, TextError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Self::Json => serde_json::from_str(text).map_err(|error| TextError::of_json(&error)),
            Self::Yaml => serde_saphyr::from_str(text).map_err(|error| TextError::of_yaml(&error)),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }
}

/// Text that breaks the rules of its format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid {} at line {line}, column {column}: {reason}", format.name())]
pub struct TextError {
    /// What it should have been.
    pub format: Format,
    /// The line, from 1; 0 when the place is not known.
    pub line: u64,
    /// The column, from 1; 0 when the place is not known.
    pub column: u64,
    /// What is wrong there.
    pub reason: String,
}

impl TextError {
    fn of_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let place = format!(" at line {line} column {column}");
        let reason = error.to_string();
        let reason = reason.strip_suffix(&place).unwrap_or(&reason).to_owned();
        Self { format: Format::Json, line: line as u64, column: column as u64, reason }
    }

    fn of_yaml(error: &serde_saphyr::Error) -> Self {
        let place = error.location();
        let (line, column) = place.map(|place| (place.line(), place.column())).unwrap_or_default();
        let reason = error.without_snippet().to_string();
        let mut reason = reason.lines().next().unwrap_or_default().to_owned();
        for place in [
            format!(" at line {line}, column {column}"),
            format!(" at line {line} column {column}"),
            format!("line {line} column {column}: "),
            format!("line {line}, column {column}: "),
        ] {
            reason = reason.replace(&place, "");
        }
        Self { format: Format::Yaml, line, column, reason }
    }
}

impl RawJob {
    /// Reads a job.
    ///
    /// # Errors
    ///
    /// When the text breaks the rules of the format, or is no object.
    pub fn from_text(text: &str, format: Format) -> Result<Self, TextError> {
        match format.parse(text)? {
            Value::Object(properties) => Ok(Self(properties)),
            other => {
                let reason = format!("a job is an object, found {}", super::fields::describe(&other));
                Err(TextError { format, line: 1, column: 1, reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_format_by_the_extension() {
        let cases = [
            ("a.yaml", Format::Yaml),
            ("a.YML", Format::Yaml),
            ("a.json", Format::Json),
            ("a", Format::Json),
        ];
        for (path, format) in cases {
            assert_eq!(Format::of(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn reads_the_same_job_from_both_formats() {
        let json = "\u{feff}{\"name\": \"a\", \"operations\": [{\"_op\": \"noop\", \"n\": 1}], \"x\": null}";
        let yaml = "# a job\nname: a\noperations:\n  - _op: noop\n    n: 1\nx: ~\n";
        let json = RawJob::from_text(json, Format::Json).unwrap();
        assert_eq!(RawJob::from_text(yaml, Format::Yaml).unwrap(), json);
    }

    #[test]
    fn says_where_json_is_broken() {
        let error = RawJob::from_text("{\n  \"name\": \"a\"\n  \"b\": 1\n}", Format::Json).unwrap_err();
        assert_eq!(error.to_string(), "not valid JSON at line 3, column 3: expected `,` or `}`");
    }

    #[test]
    fn says_where_yaml_is_broken() {
        let error = RawJob::from_text("name: a\noperations: [\n  {_op: x\n", Format::Yaml).unwrap_err();
        assert!(error.line >= 2, "{error}");
        assert!(!error.reason.contains("line"), "{error}");
    }

    #[test]
    fn refuses_a_document_that_is_no_object() {
        let error = RawJob::from_text("[1]", Format::Json).unwrap_err();
        assert_eq!(error.to_string(), "not valid JSON at line 1, column 1: a job is an object, found a list");
    }

    #[test]
    fn refuses_a_yaml_bomb_quickly() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, before) in ('b'..='k').zip('a'..='j') {
            let all = vec![format!("*{before}"); 9].join(", ");
            bomb.push_str(&format!("{name}: &{name} [{all}]\n"));
        }
        assert!(RawJob::from_text(&bomb, Format::Yaml).is_err());
    }
}
