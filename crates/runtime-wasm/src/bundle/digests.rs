//! What a bundle is known by: computed as its bytes come, never over the whole in memory.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes that are turned into text at once: a multiple of three, so that no padding comes between.
const STEP: usize = 3 * 1_024;

/// The digests of a bundle, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    sha1: Sha1,
    sha256: Sha256,
    /// The bytes, fewer than three, that wait for others to be turned into text with.
    rest: Vec<u8>,
    len: u64,
}

/// What a bundle is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-1 of the bundle's base64 text in hexadecimal: 40 characters, as the original's ids.
    pub id: String,
    /// SHA-256 of the bundle in hexadecimal.
    pub sha256: String,
    /// Bytes of the bundle.
    pub len: u64,
}

impl Digests {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.len += bytes.len() as u64;
        let missing = (3 - self.rest.len() % 3) % 3;
        let (head, tail) = bytes.split_at(missing.min(bytes.len()));
        self.rest.extend_from_slice(head);
        if self.rest.len() == 3 {
            let group = std::mem::take(&mut self.rest);
            self.text(&group);
        }
        let whole = tail.len() - tail.len() % 3;
        for step in tail[..whole].chunks(STEP) {
            self.text(step);
        }
        self.rest.extend_from_slice(&tail[whole..]);
    }

    /// Returns what a bundle of these bytes is known by.
    #[must_use]
    pub fn finish(mut self) -> Identity {
        let rest = std::mem::take(&mut self.rest);
        self.text(&rest);
        Identity { id: hex(&self.sha1.finalize()), sha256: hex(&self.sha256.finalize()), len: self.len }
    }

    fn text(&mut self, bytes: &[u8]) {
        let mut text = [0; STEP / 3 * 4];
        let len = BASE64_STANDARD.encode_slice(bytes, &mut text).expect("a step fits into its text");
        self.sha1.update(&text[..len]);
    }
}

/// Tells whether a text has the form of an asset's id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(bytes: &[u8]) -> Identity {
        Identity {
            id: hex(&Sha1::digest(BASE64_STANDARD.encode(bytes))),
            sha256: hex(&Sha256::digest(bytes)),
            len: bytes.len() as u64,
        }
    }

    #[test]
    fn does_not_depend_on_how_the_bytes_come() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|number| number.to_le_bytes()[0] ^ 0x5a).collect();
        for len in [0, 1, 2, 3, 4, 5, 3_071, 3_072, 3_073, 20_000] {
            for step in [1, 2, 3, 4, 7, 1_000, 4_096, 20_000] {
                let mut digests = Digests::default();
                for chunk in bytes[..len].chunks(step) {
                    digests.update(chunk);
                    digests.update(&[]);
                }
                assert_eq!(digests.finish(), at_once(&bytes[..len]), "{len} bytes by {step}");
            }
        }
    }

    #[test]
    fn knows_an_id_by_its_form() {
        assert!(is_id(&at_once(b"a").id));
        for other in ["", "words", &"A".repeat(40), &"a".repeat(41), &"../".repeat(14)[..40]] {
            assert!(!is_id(other), "{other}");
        }
    }
}
