//! The secret that a controller and its workers share.

use std::{env, fmt, fmt::Write as _, fs::File, io, io::Read};

/// The environment variable that tells a worker process the secret.
pub const SECRET: &str = "TERASLICE_LINK_SECRET";

/// Bytes of a new secret.
const LEN: usize = 16;

/// A word that both sides of a link know. Never shows up in messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Draws a secret from the system's random numbers.
    ///
    /// # Errors
    ///
    /// When the system has none.
    pub fn draw() -> io::Result<Self> {
        let mut bytes = [0; LEN];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let mut text = String::with_capacity(2 * LEN);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("text grows as needed");
        }
        Ok(Self(text))
    }

    /// Reads the secret that this process was given.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        env::var(SECRET).ok().map(Self)
    }

    /// Returns the word, to be handed on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    pub(super) fn matches(&self, word: &str) -> bool {
        let differ = self.0.bytes().zip(word.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
        self.0.len() == word.len() && differ == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_another_one_each_time_and_is_not_shown() {
        let (one, two) = (Secret::draw().unwrap(), Secret::draw().unwrap());
        assert_ne!(one, two);
        assert_eq!((one.expose().len(), format!("{one:?}").as_str()), (32, "Secret"));
    }

    #[test]
    fn matches_nothing_but_itself() {
        let secret = Secret("abc".to_owned());
        assert!(secret.matches("abc"));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!secret.matches(other), "{other}");
        }
    }
}
