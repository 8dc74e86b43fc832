//! The hashes that keys may be made with.

use md5::{Digest, Md5};
use serde::Deserialize;

/// A hash by the name that jobs know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Algorithm {
    Md4,
    #[default]
    Md5,
    Sha1,
    Sha256,
    Sha512,
    Whirlpool,
}

impl Algorithm {
    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Md4 => md4::Md4::digest(bytes).to_vec(),
            Self::Md5 => Md5::digest(bytes).to_vec(),
            Self::Sha1 => sha1::Sha1::digest(bytes).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
            Self::Whirlpool => whirlpool::Whirlpool::digest(bytes).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_their_standards() {
        let cases = [
            (Algorithm::Md4, "a448017aaf21d8525fc10ae87aa6729d"),
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Algorithm::Sha512, "ddaf35a193617abacc417349ae204131"),
            (Algorithm::Whirlpool, "4e2448a4c6f486bb16b6562c73b4020b"),
        ];
        for (algorithm, start) in cases {
            let hex: String = algorithm.digest(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(hex.starts_with(start), "{algorithm:?} {hex}");
        }
    }
}
