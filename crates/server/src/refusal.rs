//! Refusals: an HTTP status, and what is wrong in words.

use std::fmt::Display;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use teraslice_api::answer::ErrorBody;
use teraslice_core::{engine::CommandError, store::StoreError};
use teraslice_model::problem::{Problem, chain};

use crate::{answer, controllers::ControlError, library::LibraryError};

/// Why a request is not answered as its sender wants.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The one endpoint whose body has the text where others have the status.
    is_text_only: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), headers: Vec::new(), is_text_only: false }
    }

    /// The request is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing.
    pub(crate) fn not_found(what: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("unable to find {what}"))
    }

    /// Something else has to happen first.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// It is not possible with what there is.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// It was there once.
    pub(crate) fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, message)
    }

    /// Try again later.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Something is wrong here; also what the original answers to jobs and numbers that are wrong.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// A job that cannot run: 500, as the original has it, with every problem.
    pub(crate) fn problems(problems: &[Problem]) -> Self {
        let listed: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self::internal(format!("failed to validate the job: {}", listed.join("; ")))
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Puts the text where others have the status.
    pub(crate) fn text_only(mut self) -> Self {
        self.is_text_only = true;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer = if self.is_text_only {
            answer::json_as(self.status, &json!({"error": self.message}))
        } else {
            answer::json_as(self.status, &ErrorBody { error: self.status.as_u16(), message: self.message })
        };
        let mut response = answer.unwrap_or_else(|_| self.status.into_response());
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let message = chain(&error);
        match error {
            StoreError::NotFound { what } => Self::not_found(what),
            StoreError::Conflict { .. } => Self::conflict(message),
            StoreError::IllegalMove { .. } => Self::unprocessable(message),
            StoreError::Unavailable { .. } | StoreError::Fenced { .. } => Self::unavailable(message),
            StoreError::Broken { .. } => {
                tracing::error!(error = message, "state store cannot be used");
                Self::unavailable(message)
            }
        }
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::EngineGone => Self::unavailable(error.to_string()),
            CommandError::Unknown { ex_id } => Self::not_found(format!("execution {ex_id}")),
            CommandError::Store { source, .. } => source.into(),
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<LibraryError> for Refusal {
    fn from(error: LibraryError) -> Self {
        let message = chain(&error);
        match error {
            LibraryError::NotZip { .. } => Self::internal(message),
            LibraryError::Invalid { .. } => Self::unprocessable(message),
            LibraryError::Exists { .. } | LibraryError::InUse { .. } => Self::conflict(message),
            LibraryError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, message),
            LibraryError::Disk(_) => Self::unavailable(message),
            LibraryError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::{id::ExId, status::Status};

    use super::*;

    #[test]
    fn tells_the_whole_cause() {
        let source = Status::Completed.check_move(Status::Running).unwrap_err();
        let refusal = Refusal::from(StoreError::IllegalMove { ex_id: ExId::from_random([1; 16]), source });
        assert_eq!(refusal.status, 422);
        assert!(refusal.message.ends_with("an execution cannot go from completed to running"), "{refusal:?}");
    }
}
