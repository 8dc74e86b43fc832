//! The archive: an OCI image layout in a tar file.
//!
//! ```text
//! blobs/sha256/<digest>    the layer (tar.gz), the configuration, the manifest
//! index.json               names the manifest, and says what the image is called
//! manifest.json            the same for older versions of `docker load`
//! oci-layout               the version of this layout
//! ```
//!
//! The same files make the same archive: entries are sorted and have no times.

use std::{env::consts::ARCH, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    reference::Reference,
    rootfs::{Entry, PROGRAM, Rootfs, USER},
};

/// Returns the archive of an image of one layer.
///
/// # Errors
///
/// An entry cannot be written: its path is no path of a tar file.
pub(super) fn write(reference: &Reference, rootfs: &Rootfs) -> Result<Vec<u8>> {
    let tar = layer(rootfs).context("failed to write the layer")?;
    let config = Blob::json("application/vnd.oci.image.config.v1+json", &config(&digest(&tar)));
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", compress(&tar)?);
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::json(manifest_type, &manifest);
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [reference.familiar()],
        "Layers": [layer.path()],
    }]);

    let mut files = Files::default();
    for blob in sorted([&config, &layer, &manifest]) {
        files.file(Path::new(&blob.path()), 0o644, &blob.bytes)?;
    }
    files.file(Path::new("index.json"), 0o644, index(reference, &manifest).to_string().as_bytes())?;
    files.file(Path::new("manifest.json"), 0o644, docker.to_string().as_bytes())?;
    files.file(
        Path::new("oci-layout"),
        0o644,
        json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes(),
    )?;
    files.end()
}

/// Returns the name of a digest.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hex = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}")
}

/// A file that is named by its digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&bytes), bytes }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

fn sorted<const N: usize>(mut blobs: [&Blob; N]) -> [&Blob; N] {
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    blobs
}

fn config(diff_id: &str) -> Value {
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": match ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Entrypoint": [PROGRAM],
            "WorkingDir": "/app",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
}

fn index(reference: &Reference, manifest: &Blob) -> Value {
    let mut descriptor = manifest.descriptor();
    descriptor["annotations"] = json!({
        "io.containerd.image.name": reference.qualified(),
        "org.opencontainers.image.ref.name": reference.tag(),
    });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    })
}

fn layer(rootfs: &Rootfs) -> Result<Vec<u8>> {
    let mut files = Files::default();
    for (path, entry) in rootfs.entries() {
        let path = path.strip_prefix("/").unwrap_or(path);
        match entry {
            Entry::Folder { mode, owner } => files.folder(path, *mode, *owner)?,
            Entry::File { mode, bytes } => files.file(path, *mode, bytes)?,
        }
    }
    files.end()
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// A tar file without times, owned by root unless it is said otherwise.
struct Files {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Files {
    fn default() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }
}

impl Files {
    fn folder(&mut self, path: &Path, mode: u32, owner: u64) -> Result<()> {
        self.append(path, tar::EntryType::Directory, mode, owner, &[])
    }

    fn file(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        self.append(path, tar::EntryType::Regular, mode, 0, bytes)
    }

    fn append(
        &mut self,
        path: &Path,
        kind: tar::EntryType,
        mode: u32,
        owner: u64,
        bytes: &[u8],
    ) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        let appended = self.tar.append_data(&mut header, path, bytes);
        appended.with_context(|| format!("failed to add {}", path.display()))
    }

    fn end(self) -> Result<Vec<u8>> {
        self.tar.into_inner().context("failed to end the archive")
    }
}
