//! File formats and compressions, as readers and writers of files share them.

use serde::Deserialize;

/// How records lie in a file (`format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One JSON array of records, or one record.
    Json,
    /// One JSON object per line.
    Ldjson,
    /// Lines of anything.
    Raw,
    /// Values separated by commas.
    Csv,
    /// Values separated by tabs.
    Tsv,
}

impl Format {
    /// Returns the file extension, without compression.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Json => ".json",
            Self::Ldjson => ".ldjson",
            Self::Raw => "",
            Self::Csv => ".csv",
            Self::Tsv => ".tsv",
        }
    }

    pub(crate) const fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv)
    }

    /// Returns what separates values when the job does not say.
    pub(crate) const fn field_delimiter(self) -> &'static str {
        match self {
            Self::Tsv => "\t",
            _ => ",",
        }
    }
}

/// How a file is compressed (`compression`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// The frame format of LZ4.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Returns the file extension.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Lz4 => ".lz4",
            Self::Zstd => ".zst",
        }
    }
}

pub(crate) fn newline() -> String {
    "\n".to_owned()
}

pub(crate) const fn yes() -> bool {
    true
}
