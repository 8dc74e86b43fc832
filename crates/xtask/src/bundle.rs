//! Packs an asset: a component and its description in a zip that is the same for the same input.

use std::io::{Cursor, Write as _};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use wit_component::ComponentEncoder;
use zip::{DateTime, ZipWriter, write::SimpleFileOptions};

/// What `asset.json` says of the asset.
pub(crate) struct Manifest<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) description: &'a str,
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
    let description = json!({
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "runtime": "wasm",
        "wit": "teraslice:asset@1.0.0",
        "module": "asset.wasm",
        "sha256": digest,
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
