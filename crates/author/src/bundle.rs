//! Packs an asset: a component and its description in a zip that is the same for the same input.

use std::{
    fs,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;
use zip::{DateTime, ZipWriter, write::SimpleFileOptions};

/// Where the kit for authors lists the operations of an asset, one a line.
const OPERATIONS: &str = "teraslice-operations";

/// What `asset.json` says of the asset.
pub(crate) struct Manifest<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) description: &'a str,
    /// Its operations; none: as the module lists them.
    pub(crate) operations: &'a [String],
}

/// Makes a component of a core module and packs it with `asset.json`.
pub(crate) fn pack(manifest: &Manifest<'_>, module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("the module does not carry the interface of teraslice:asset")?
        .encode()
        .with_context(|| format!("failed to make a component of asset {}", manifest.name))?;
    let digest: String = Sha256::digest(&component).iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = operations(module)?;
    let operations = match manifest.operations {
        [] => listed,
        named => named.iter().map(String::as_str).collect(),
    };
    let description = json!({
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "runtime": "wasm",
        "wit": "teraslice:asset@1.0.0",
        "module": "asset.wasm",
        "sha256": digest,
        "operations": operations,
        "minimum_teraslice_version": env!("CARGO_PKG_VERSION"),
    });
    let description = format!("{description:#}\n");
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().last_modified_time(DateTime::default());
    for (name, content) in [("asset.json", description.as_bytes()), ("asset.wasm", &component)] {
        zip.start_file(name, options)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Packs an asset into a folder; returns the zip.
pub(crate) fn write(manifest: &Manifest<'_>, module: &[u8], dist: &Path) -> Result<PathBuf> {
    let zip = pack(manifest, module)?;
    let path = dist.join(format!("{}-v{}.zip", manifest.name, manifest.version));
    let is_same = fs::read(&path).is_ok_and(|old| old == zip);
    // Left alone when nothing has changed, so that what embeds it is not built again.
    if !is_same {
        fs::write(&path, &zip).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(path)
}

/// Returns the names of the operations of a module; none if it does not list them.
fn operations(module: &[u8]) -> Result<Vec<&str>> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.context("failed to read the module")?
            && section.name() == OPERATIONS
        {
            return Ok(std::str::from_utf8(section.data())?.lines().collect());
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_listed_from_their_section() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        assert_eq!(operations(&module).unwrap(), [""; 0]);
        let content = [&[20], OPERATIONS.as_bytes(), b"one\ntwo\n"].concat();
        module.extend([&[0, 29][..], &content].concat());
        assert_eq!(operations(&module).unwrap(), ["one", "two"]);
        assert!(operations(b"no module").is_err());
    }

    #[test]
    fn a_module_without_the_interface_is_refused() {
        let manifest = Manifest { name: "x", version: "1.0.0", description: "", operations: &[] };
        let error = pack(&manifest, b"\0asm\x01\0\0\0garbage").unwrap_err();
        assert_eq!(error.to_string(), "the module does not carry the interface of teraslice:asset");
    }
}
