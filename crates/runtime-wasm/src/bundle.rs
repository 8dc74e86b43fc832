//! Asset bundles: a zip with `asset.json` and one WebAssembly module.

use std::io::{Cursor, Read};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

/// Bytes of a module at the most.
const MODULE_MAX: u64 = 32 << 20;
/// Bytes of `asset.json` at the most.
const DESCRIPTION_MAX: u64 = 1 << 20;
/// The contract that this runtime speaks; later minor versions only add.
const WIT: &str = "teraslice:asset@1.";

/// An asset as it is published.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// SHA-1 of the zip's base64 text in hexadecimal: 40 characters, as the original's ids.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The module: a component, or a core module with the canonical names.
    pub(crate) module: Vec<u8>,
    /// SHA-256 of the module, in hexadecimal.
    pub(crate) digest: String,
}

/// A zip that is no asset for this runtime.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is no zip.
    #[error("not a zip file")]
    Zip(#[source] zip::result::ZipError),
    /// A file is missing.
    #[error("{name} is missing at the root of the zip")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A file is too large.
    #[error("{name} is larger than {max} bytes")]
    Large {
        /// Its name.
        name: String,
        /// The limit.
        max: u64,
    },
    /// A file cannot be unpacked.
    #[error("failed to unpack {name}")]
    Damaged {
        /// Its name.
        name: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// `asset.json` is not what it should be.
    #[error("asset.json is not the description of an asset")]
    Description(#[source] serde_json::Error),
    /// The asset is for something else.
    #[error("asset.json: {field} is {found:?}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The module is not WebAssembly.
    #[error("{name} is not a WebAssembly module: it does not begin with \\0asm")]
    NotWasm {
        /// Its name.
        name: String,
    },
}

#[derive(Deserialize)]
struct Description {
    name: String,
    version: String,
    #[serde(default)]
    runtime: String,
    #[serde(default)]
    wit: String,
    #[serde(default = "default_module")]
    module: String,
    sha256: Option<String>,
}

fn default_module() -> String {
    "asset.wasm".to_owned()
}

impl Bundle {
    /// Returns the SHA-256 of the module, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the bytes of the module.
    #[must_use]
    pub const fn module_len(&self) -> usize {
        self.module.len()
    }

    /// Reads a bundle.
    ///
    /// # Errors
    ///
    /// See [`BundleError`]; never more than the limits is unpacked.
    pub fn read(zip: &[u8]) -> Result<Self, BundleError> {
        let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(BundleError::Zip)?;
        let description = unpack(&mut archive, "asset.json", DESCRIPTION_MAX)?;
        let description: Description =
            serde_json::from_slice(&description).map_err(BundleError::Description)?;
        check("runtime", &description.runtime, "\"wasm\"", description.runtime == "wasm")?;
        let speaks = description.wit.starts_with(WIT);
        check("wit", &description.wit, "teraslice:asset@1.x", speaks)?;
        check("name", &description.name, "a name", !description.name.is_empty())?;
        let module = unpack(&mut archive, &description.module, MODULE_MAX)?;
        if !module.starts_with(b"\0asm") {
            return Err(BundleError::NotWasm { name: description.module });
        }
        let digest = hex(&Sha256::digest(&module));
        if let Some(announced) = description.sha256 {
            check("sha256", &announced, &digest, announced.eq_ignore_ascii_case(&digest))?;
        }
        let id = hex(&Sha1::digest(BASE64_STANDARD.encode(zip)));
        Ok(Self { id, name: description.name, version: description.version, module, digest })
    }
}

fn check(field: &'static str, found: &str, expected: &str, is_right: bool) -> Result<(), BundleError> {
    if is_right {
        return Ok(());
    }
    Err(BundleError::Field { field, found: found.to_owned(), expected: expected.to_owned() })
}

fn unpack(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str, max: u64) -> Result<Vec<u8>, BundleError> {
    let name = name.to_owned();
    let Ok(file) = archive.by_name(&name) else { return Err(BundleError::Missing { name }) };
    let mut content = Vec::new();
    let read = file.take(max + 1).read_to_end(&mut content);
    match read {
        Err(source) => Err(BundleError::Damaged { name, source }),
        Ok(_) if content.len() as u64 > max => Err(BundleError::Large { name, max }),
        Ok(_) => Ok(content),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn described(description: &str, module: &[u8]) -> Vec<u8> {
        zip(&[("asset.json", description.as_bytes()), ("asset.wasm", module)])
    }

    const GOOD: &str = r#"{"name":"a","version":"1.0.0","runtime":"wasm","wit":"teraslice:asset@1.0.0"}"#;

    #[test]
    fn identifies_an_asset_by_the_base64_text_of_its_zip() {
        let bytes = described(GOOD, b"\0asm");
        let bundle = Bundle::read(&bytes).unwrap();
        assert_eq!(bundle.id, hex(&Sha1::digest(BASE64_STANDARD.encode(&bytes))));
        assert_eq!((bundle.name.as_str(), bundle.version.as_str()), ("a", "1.0.0"));
    }

    #[test]
    fn says_what_is_wrong_with_a_bundle() {
        let field = |field: &str, value: &str| {
            let mut all: serde_json::Value = serde_json::from_str(GOOD).unwrap();
            all[field] = value.into();
            described(&all.to_string(), b"\0asm")
        };
        let cases = [
            (b"no zip".to_vec(), "not a zip file"),
            (zip(&[("a", b"b")]), "asset.json is missing at the root of the zip"),
            (zip(&[("asset.json", GOOD.as_bytes())]), "asset.wasm is missing at the root of the zip"),
            (described("{}", b""), "asset.json is not the description of an asset"),
            (field("runtime", "node"), "asset.json: runtime is \"node\", expected \"wasm\""),
            (
                field("wit", "teraslice:asset@2.0.0"),
                "asset.json: wit is \"teraslice:asset@2.0.0\", expected teraslice:asset@1.x",
            ),
            (
                described(GOOD, b"\x7fELF"),
                "asset.wasm is not a WebAssembly module: it does not begin with \\0asm",
            ),
        ];
        for (bytes, message) in cases {
            assert_eq!(Bundle::read(&bytes).unwrap_err().to_string(), message);
        }
        let wrong = Bundle::read(&field("sha256", "00")).unwrap_err().to_string();
        assert!(wrong.starts_with("asset.json: sha256 is \"00\", expected "), "{wrong}");
    }

    #[test]
    fn unpacks_no_more_than_the_limit() {
        let bomb = vec![0; usize::try_from(MODULE_MAX).unwrap() + 1];
        let refused = Bundle::read(&described(GOOD, &bomb)).unwrap_err();
        assert_eq!(refused.to_string(), "asset.wasm is larger than 33554432 bytes");
    }
}
