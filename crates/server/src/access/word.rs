//! The words of tokens: drawn at random, sent in a header, compared by their hashes.

use std::{fmt::Write as _, fs::File, io, io::Read};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use blake3::Hash;
use teraslice_model::{
    access::{AccessRole, TokenRecord},
    timestamp::Timestamp,
};

/// Random bytes of a word.
const LEN: usize = 32;

/// A new token and its word, which nobody can read again.
#[derive(Clone, Debug)]
pub struct NewWord {
    /// What the bearer sends.
    pub word: String,
    /// What the store keeps.
    pub record: TokenRecord,
}

/// Draws the word of a new token from the system's random numbers.
///
/// # Errors
///
/// When the system has none.
pub fn draw(name: &str, role: AccessRole, created: Timestamp) -> io::Result<NewWord> {
    let mut bytes = [0; LEN];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut word = String::with_capacity(2 * LEN);
    for byte in bytes {
        write!(word, "{byte:02x}").expect("text grows as needed");
    }
    let hash = hash(&word);
    let record = TokenRecord { name: name.to_owned(), role, hash, created };
    Ok(NewWord { word, record })
}

/// Returns what the store keeps of a word.
#[must_use]
pub fn hash(word: &str) -> String {
    blake3::hash(word.as_bytes()).to_hex().to_string()
}

/// Returns the word of an `Authorization` header: `Bearer <word>`, or `Basic` with the word as password.
pub(super) fn of_header(header: &str) -> Option<String> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.to_owned()),
        "basic" => {
            let decoded = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
            decoded.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

/// Returns the token of a word, in a time that does not depend on how much of the word is right.
pub(super) fn find<'a>(tokens: &'a [TokenRecord], word: &str) -> Option<&'a TokenRecord> {
    let sent = blake3::hash(word.as_bytes());
    let mut found = None;
    for token in tokens {
        // Hashes are compared in constant time.
        if Hash::from_hex(&token.hash).is_ok_and(|kept| kept == sent) {
            found = Some(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> NewWord {
        draw(name, AccessRole::Read, Timestamp::default()).unwrap()
    }

    #[test]
    fn finds_a_token_by_its_word() {
        let (one, two) = (token("one"), token("two"));
        let tokens = [one.record, two.record];
        assert_eq!(find(&tokens, &two.word).unwrap().name, "two");
        assert_eq!(find(&tokens, &tokens[0].hash), None, "the hash is not the word");
        assert_eq!(find(&tokens, ""), None);
    }

    #[test]
    fn reads_both_kinds_of_headers() {
        assert_eq!(of_header("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(of_header("bearer  abc "), Some("abc".to_owned()));
        let basic = format!("Basic {}", BASE64_STANDARD.encode("me:a:b"));
        assert_eq!(of_header(&basic), Some("a:b".to_owned()));
        for wrong in ["", "abc", "Basic !!", "Digest x", "Basic bWU="] {
            assert_eq!(of_header(wrong), None, "{wrong}");
        }
    }
}
