//! Asset bundles: a zip with `asset.json` and one WebAssembly module.

mod archive;
mod digests;

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek},
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use zip::{ZipArchive, result::ZipError};

use digests::hex;
pub use digests::{Digests, Identity, is_id};

/// Bytes of a module at the most.
const MODULE_MAX: u64 = 32 << 20;
/// Bytes of `asset.json` at the most.
const DESCRIPTION_MAX: u64 = 1 << 20;
/// The contract that this runtime speaks; later minor versions only add.
const WIT: &str = "teraslice:asset@1.";

/// Bytes of a name at the most.
const NAME_MAX: usize = 128;

/// An asset as it is published.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// SHA-1 of the zip's base64 text in hexadecimal: 40 characters, as the original's ids.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version, without a leading `v`.
    pub version: String,
    /// What else it says of itself.
    pub about: About,
    /// The module: a component, or a core module with the canonical names.
    pub(crate) module: Vec<u8>,
    /// SHA-256 of the module, in hexadecimal.
    pub(crate) digest: String,
}

/// What an asset says of itself beside its name and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What it is for.
    pub description: Option<String>,
    /// The major version of Node.js that it asks for.
    pub node_version: Option<u32>,
    /// The platform that it asks for.
    pub platform: Option<String>,
    /// The processor that it asks for.
    pub arch: Option<String>,
    /// The least version of Teraslice that it asks for.
    pub minimum_teraslice_version: Option<String>,
}

/// A zip that is no asset for this runtime.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is no zip, or an empty one.
    #[error("not a zip file: it does not begin as one")]
    Signature,
    /// Its end is missing.
    #[error("not a whole zip file: its end is missing")]
    Cut,
    /// It cannot be read.
    #[error("failed to read the zip")]
    Io(#[from] io::Error),
    /// Its directory cannot be read.
    #[error("not a zip file")]
    Zip(#[source] ZipError),
    /// Its directory and its entries do not agree.
    #[error("the zip contradicts itself")]
    Contradiction(#[source] ZipError),
    /// It holds too much, or says so.
    #[error("more than {} entries", archive::ENTRIES_MAX)]
    Entries,
    /// An entry may not be in a bundle.
    #[error("{name:?} {reason}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is missing.
    #[error("{name} was not found at the root of the zip{hint}")]
    Missing {
        /// Its name.
        name: String,
        /// Where it is instead; empty: nowhere.
        hint: String,
    },
    /// The asset is one of the original.
    #[error(
        "asset {name} is JavaScript and has no WebAssembly module: its operations have to be rebuilt as WebAssembly, \
         as docs/assets says, and its asset.json needs \"runtime\": \"wasm\" and \"wit\": \"teraslice:asset@1.0.0\""
    )]
    JavaScript {
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
        source: io::Error,
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
    // Of any type, as in bundles of the original: what is empty or false asks for nothing.
    #[serde(default)]
    description: Value,
    #[serde(default)]
    node_version: Value,
    #[serde(default)]
    platform: Value,
    #[serde(default)]
    arch: Value,
    #[serde(default)]
    minimum_teraslice_version: Value,
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
        let mut digests = Digests::default();
        digests.update(zip);
        Self::from_zip(Cursor::new(zip), digests.finish().id)
    }

    /// Reads a bundle from its file.
    ///
    /// # Errors
    ///
    /// See [`BundleError`].
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        Self::from_zip(File::open(path)?, identify(path)?.id)
    }

    /// Reads a bundle from the file of a library, which is known to be the one with that id.
    ///
    /// # Errors
    ///
    /// See [`BundleError`].
    pub fn open_known(path: &Path, id: &str) -> Result<Self, BundleError> {
        Self::from_zip(File::open(path)?, id.to_owned())
    }

    /// Reads a bundle that comes from outside, and checks the whole of its zip.
    ///
    /// # Errors
    ///
    /// See [`BundleError`]; no more than `unpacked_max` bytes are unpacked.
    pub fn check(mut file: &File, id: &str, unpacked_max: u64) -> Result<Self, BundleError> {
        let bundle = Self::from_zip(&mut file, id.to_owned());
        match bundle {
            // What is wrong with the zip itself is said first.
            Ok(_) | Err(BundleError::Damaged { .. }) => archive::check(&mut file, unpacked_max)?,
            Err(_) => {}
        }
        bundle
    }

    fn from_zip<R: Read + Seek>(zip: R, id: String) -> Result<Self, BundleError> {
        let mut archive = archive::open(zip)?;
        let description = unpack(&mut archive, "asset.json", DESCRIPTION_MAX)?;
        let description: Description =
            serde_json::from_slice(&description).map_err(BundleError::Description)?;
        let is_script = |name: &str| name.ends_with(".js") || name.ends_with(".mjs");
        if description.runtime != "wasm" && archive.file_names().flatten().any(|name| is_script(&name)) {
            return Err(BundleError::JavaScript { name: description.name });
        }
        check("runtime", &description.runtime, "\"wasm\"", description.runtime == "wasm")?;
        let speaks = description.wit.starts_with(WIT);
        check("wit", &description.wit, "teraslice:asset@1.x", speaks)?;
        let wanted = format!("a name of at most {NAME_MAX} bytes without blanks and any of : @ / \\ \"");
        check("name", &description.name, &wanted, is_name(&description.name))?;
        let module = unpack(&mut archive, &description.module, MODULE_MAX)?;
        if !module.starts_with(b"\0asm") {
            return Err(BundleError::NotWasm { name: description.module });
        }
        let digest = hex(&Sha256::digest(&module));
        if let Some(announced) = &description.sha256 {
            check("sha256", announced, &digest, announced.eq_ignore_ascii_case(&digest))?;
        }
        let about = description.about();
        let version = description.version.trim_start_matches([' ', '=', 'v']).trim_end().to_owned();
        Ok(Self { id, name: description.name, version, about, module, digest })
    }
}

impl Description {
    fn about(&self) -> About {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        About {
            description: text(&self.description),
            node_version: major(&self.node_version),
            platform: text(&self.platform),
            arch: text(&self.arch),
            minimum_teraslice_version: text(&self.minimum_teraslice_version),
        }
    }
}

/// Returns the first number of a version, such as 18 of `"v18.16.0"`, `">=18"` and 18; none if it is 0.
fn major(version: &Value) -> Option<u32> {
    let text = match version {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let digits: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|major| *major > 0)
}

/// Reads a file for what it is known by.
///
/// # Errors
///
/// When it cannot be read.
pub fn identify(path: &Path) -> io::Result<Identity> {
    let mut file = File::open(path)?;
    let mut digests = Digests::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digests.finish()),
            len => digests.update(&buffer[..len]),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '@' | '/' | '\\' | '"');
    (1..=NAME_MAX).contains(&name.len()) && !name.contains(is_wrong)
}

fn check(field: &'static str, found: &str, expected: &str, is_right: bool) -> Result<(), BundleError> {
    if is_right {
        return Ok(());
    }
    Err(BundleError::Field { field, found: found.to_owned(), expected: expected.to_owned() })
}

fn unpack<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, max: u64) -> Result<Vec<u8>, BundleError> {
    let name = name.to_owned();
    let Some(place) = archive.index_for_name(&name) else {
        let hint = elsewhere(archive, &name).unwrap_or_default();
        return Err(BundleError::Missing { name, hint });
    };
    let file = match archive.by_index(place) {
        Ok(file) => file,
        Err(error) => return Err(BundleError::Damaged { name, source: io::Error::other(error) }),
    };
    let mut content = Vec::new();
    let read = file.take(max + 1).read_to_end(&mut content);
    match read {
        Err(source) => Err(BundleError::Damaged { name, source }),
        Ok(_) if content.len() as u64 > max => Err(BundleError::Large { name, max }),
        Ok(_) => Ok(content),
    }
}

/// Says where a file is that is not at the root.
fn elsewhere<R: Read + Seek>(archive: &ZipArchive<R>, name: &str) -> Option<String> {
    let names = archive.file_names().flatten();
    let mut found =
        names.filter(|found| found.strip_suffix(name).is_some_and(|folder| folder.ends_with('/')));
    found.next().map(|found| format!(", but as {found}: zip the files, not their folder"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use sha1::Sha1;
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
            (b"no zip".to_vec(), "not a zip file: it does not begin as one"),
            (zip(&[("a", b"b")]), "asset.json was not found at the root of the zip"),
            (zip(&[("asset.json", GOOD.as_bytes())]), "asset.wasm was not found at the root of the zip"),
            (
                zip(&[("mine/asset.json", GOOD.as_bytes())]),
                "asset.json was not found at the root of the zip, but as mine/asset.json: zip the files, not their folder",
            ),
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
