//! The version of the protocol, and what every call carries: the version, the secret, who calls.

use std::{fmt, str::FromStr};

use teraslice_model::id::ExId;
use tonic::{
    Code, Response, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
};

use crate::{peer::ConnectError, secret::Secret};

/// Raised when peers of an earlier version cannot go on; those are refused.
pub const MAJOR: u32 = 1;
/// Raised when something is added that peers of an earlier version may ignore.
pub const MINOR: u32 = 0;

pub(crate) const VERSION: &str = "teraslice-protocol";
pub(crate) const EXECUTION: &str = "teraslice-ex-id";
pub(crate) const NODE: &str = "teraslice-node";
pub(crate) const WORKER: &str = "teraslice-worker";
pub(crate) const INCARNATION: &str = "teraslice-incarnation";
const AUTHORIZATION: &str = "authorization";
const BEARER: &str = "Bearer ";

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Another one is refused.
    pub major: u32,
    /// Another one is fine.
    pub minor: u32,
}

impl Version {
    /// The version that this process speaks.
    pub const OURS: Self = Self { major: MAJOR, minor: MINOR };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

/// Makes the metadata of a call.
pub(crate) fn metadata(secret: &Secret, names: &[(&'static str, &str)]) -> Result<MetadataMap, ConnectError> {
    let mut metadata = MetadataMap::new();
    metadata.insert(VERSION, our_version());
    for (key, name) in names {
        let value = name.parse().map_err(|_| ConnectError::Name { name: (*name).to_owned() })?;
        metadata.insert(*key, value);
    }
    let bearer = format!("{BEARER}{}", secret.expose());
    let mut bearer: MetadataValue<Ascii> = bearer.parse().map_err(|_| ConnectError::Secret)?;
    bearer.set_sensitive(true);
    metadata.insert(AUTHORIZATION, bearer);
    Ok(metadata)
}

/// Accepts a call that is answered by a stream: the head of the answer comes at once, and says which version this side speaks.
pub(crate) fn accept<T>(stream: T) -> Response<T> {
    let mut response = Response::new(stream);
    response.metadata_mut().insert(VERSION, our_version());
    response
}

fn our_version() -> MetadataValue<Ascii> {
    Version::OURS.to_string().parse().expect("digits and a full stop are ASCII")
}

/// Refuses a caller of another major version, with both versions in the text.
pub(crate) fn check_version(metadata: &MetadataMap) -> Result<(), Status> {
    let theirs = version(metadata);
    if theirs.is_some_and(|theirs| theirs.major == MAJOR) {
        return Ok(());
    }
    let theirs = theirs.map_or_else(|| "none".to_owned(), |theirs| theirs.to_string());
    let text =
        format!("the caller speaks version {theirs} of the protocol, this side version {}", Version::OURS);
    let mut answer = MetadataMap::new();
    answer.insert(VERSION, our_version());
    Err(Status::with_metadata(Code::FailedPrecondition, text, answer))
}

/// Returns the version that metadata names.
pub(crate) fn version(metadata: &MetadataMap) -> Option<Version> {
    text(metadata, VERSION).ok()?.parse().ok()
}

/// Returns the word that the caller shows.
pub(crate) fn word(metadata: &MetadataMap) -> Option<&str> {
    text(metadata, AUTHORIZATION).ok().and_then(|value| value.strip_prefix(BEARER))
}

/// Refuses a caller that does not know the secret.
pub(crate) fn check_secret(metadata: &MetadataMap, secret: &Secret) -> Result<(), Status> {
    if word(metadata).is_some_and(|word| secret.matches(word)) {
        return Ok(());
    }
    Err(Status::unauthenticated("the caller does not know the secret"))
}

/// Returns what the caller says under a name.
pub(crate) fn text<'a>(metadata: &'a MetadataMap, key: &'static str) -> Result<&'a str, Status> {
    let value = metadata.get(key).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Status::invalid_argument(format!("the call does not say its {key}")))
}

/// Returns the execution that the caller belongs to.
pub(crate) fn ex_id(metadata: &MetadataMap) -> Result<ExId, Status> {
    text(metadata, EXECUTION)?.parse().map_err(|_| Status::invalid_argument("the execution's id is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(version: &str) -> MetadataMap {
        let mut metadata = metadata(&Secret::from_text("word"), &[(NODE, "n1")]).unwrap();
        metadata.insert(VERSION, version.parse().unwrap());
        metadata
    }

    #[test]
    fn lets_in_every_minor_version() {
        for minor in [0, 1, 99] {
            assert!(check_version(&call(&format!("{MAJOR}.{minor}"))).is_ok());
        }
    }

    #[test]
    fn refuses_another_major_version_with_both_versions() {
        for (theirs, shown) in [("2.7", "2.7"), ("0.9", "0.9"), ("new", "none")] {
            let refused = check_version(&call(theirs)).unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            let wanted = format!("the caller speaks version {shown} of the protocol, this side version 1.0");
            assert_eq!(refused.message(), wanted);
            assert_eq!(version(refused.metadata()), Some(Version::OURS));
        }
    }

    #[test]
    fn refuses_a_caller_without_a_version() {
        let refused = check_version(&MetadataMap::new()).unwrap_err();
        assert!(refused.message().contains("version none"), "{refused}");
    }

    #[test]
    fn knows_its_secret_only() {
        assert!(check_secret(&call("1.0"), &Secret::from_text("word")).is_ok());
        for other in ["", "wor", "words"] {
            assert!(check_secret(&call("1.0"), &Secret::from_text(other)).is_err());
        }
        assert!(check_secret(&MetadataMap::new(), &Secret::from_text("")).is_err());
    }

    #[test]
    fn refuses_a_name_that_cannot_be_sent() {
        let refused = metadata(&Secret::from_text("word"), &[(NODE, "a\nb")]);
        assert!(matches!(refused, Err(ConnectError::Name { name }) if name == "a\nb"));
    }
}
