//! Filters over records, in the query language of Lucene.

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Filter;

/// Text that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at character {at}: {reason}")]
pub struct FilterError {
    /// Where, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// When the text is no filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Err(FilterError { at: 0, reason: text.to_owned() })
    }
}
