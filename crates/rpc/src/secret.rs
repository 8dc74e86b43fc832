//! Secrets: every execution and every node has its own, derived from the one key of the cluster.

use std::{fmt, fmt::Write as _, fs::File, io, io::Read};

use teraslice_model::id::ExId;

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// The key from which the master derives all secrets. It never leaves the master; `Debug` hides it.
#[derive(Clone)]
pub struct ClusterKey([u8; KEY_LEN]);

/// Text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster key is 64 hexadecimal digits")]
pub struct InvalidKey;

impl ClusterKey {
    /// Draws a key from the system's random numbers.
    ///
    /// # Errors
    ///
    /// When the system has none.
    pub fn draw() -> io::Result<Self> {
        let mut key = [0; KEY_LEN];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self(key))
    }

    /// Reads a key from hexadecimal text; white space around it does not count.
    ///
    /// # Errors
    ///
    /// When the text is no key.
    pub fn from_text(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.trim().as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != KEY_LEN || !rest.is_empty() {
            return Err(InvalidKey);
        }
        let mut key = [0; KEY_LEN];
        for (byte, [high, low]) in key.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Ok(Self(key))
    }

    /// Returns the key as hexadecimal text, to be kept in a private file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(2 * KEY_LEN);
        for byte in self.0 {
            write!(text, "{byte:02x}").expect("text grows as needed");
        }
        text
    }

    /// Derives the secret of a node.
    #[must_use]
    pub fn node(&self, node_id: &str) -> Secret {
        self.derive("node", node_id)
    }

    /// Derives the secret of an execution: of its controller and its workers.
    #[must_use]
    pub fn execution(&self, ex_id: ExId) -> Secret {
        self.derive("execution", &ex_id.to_string())
    }

    fn derive(&self, kind: &str, id: &str) -> Secret {
        let hash = blake3::keyed_hash(&self.0, format!("teraslice {kind} {id}").as_bytes());
        Secret(hash.to_hex().to_string())
    }
}

fn digit(byte: u8) -> Result<u8, InvalidKey> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(InvalidKey),
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

/// A word that both ends of a connection know. `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a word that this process was given.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the word, to be handed on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    #[must_use]
    pub fn matches(&self, word: &str) -> bool {
        let differ = self.0.bytes().zip(word.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
        self.0.len() == word.len() && std::hint::black_box(differ) == 0
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

    fn key() -> ClusterKey {
        ClusterKey::from_text(&"0f".repeat(32)).unwrap()
    }

    #[test]
    fn reads_back_the_key_that_it_drew() {
        let key = ClusterKey::draw().unwrap();
        assert_eq!(ClusterKey::from_text(&format!(" {}\n", key.to_text())).unwrap().0, key.0);
        assert_ne!(ClusterKey::draw().unwrap().0, key.0);
    }

    #[test]
    fn refuses_text_that_is_no_key() {
        for text in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), &format!("{}0", "0f".repeat(31))] {
            assert_eq!(ClusterKey::from_text(text).err(), Some(InvalidKey), "{text}");
        }
    }

    #[test]
    fn derives_the_same_secret_each_time_and_another_one_for_everybody() {
        let (one, two) = (ExId::from_random([1; 16]), ExId::from_random([2; 16]));
        let secrets = [key().execution(one), key().execution(two), key().node("a"), key().node("b")];
        assert!(key().execution(one).matches(secrets[0].expose()));
        assert!(!key().node(&one.to_string()).matches(secrets[0].expose()));
        for (i, a) in secrets.iter().enumerate() {
            assert_eq!(a.expose().len(), 64);
            assert!(secrets[i + 1..].iter().all(|b| !a.matches(b.expose())));
        }
    }

    #[test]
    fn matches_nothing_but_itself() {
        let secret = Secret::from_text("abc");
        assert!(secret.matches("abc"));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!secret.matches(other), "{other}");
        }
    }

    #[test]
    fn is_not_shown() {
        assert_eq!(format!("{:?} {:?}", key(), key().node("a")), "ClusterKey Secret");
    }
}
