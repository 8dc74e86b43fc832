//! A library in memory. A bundle is the text `PK name version`; `PK` alone has no `asset.json`.

use std::{
    io::{self, Seek, Write},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, stream::BoxStream};
use teraslice_model::{asset::AssetRecord, id::ExId, timestamp::Timestamp};
use teraslice_server::library::{Library, LibraryError, Uploaded};
use tokio::fs::File;

#[derive(Default)]
pub(crate) struct KeepingLibrary(Mutex<Vec<(AssetRecord, Vec<u8>)>>);

impl KeepingLibrary {
    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<(AssetRecord, Vec<u8>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Library for KeepingLibrary {
    async fn upload(&self, body: BoxStream<'static, io::Result<Bytes>>) -> Result<Uploaded, LibraryError> {
        let parts: Vec<Bytes> = body.try_collect().await?;
        let bytes = parts.concat();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some(text) = text.strip_prefix("PK") else {
            return Err(LibraryError::NotZip { reason: "it does not begin as a zip does".to_owned() });
        };
        let Some((name, version)) = text.trim().split_once(' ') else {
            return Err(LibraryError::Invalid { reason: "asset.json was not found at the root".to_owned() });
        };
        let id = blake3::hash(&bytes).to_hex()[..40].to_owned();
        let mut kept = self.kept();
        if kept.iter().any(|(record, _)| record.id == id) {
            return Ok(Uploaded { id, is_new: false });
        }
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        if let Some((other, _)) =
            kept.iter().find(|(record, _)| record.name == name && record.version == version)
        {
            let id = other.id.clone();
            return Err(LibraryError::Exists { name: name.to_owned(), version, id });
        }
        let record = AssetRecord {
            id: id.clone(),
            name: name.to_owned(),
            version,
            description: Some("an asset with more than thirty characters".to_owned()),
            node_version: None,
            platform: None,
            arch: None,
            minimum_teraslice_version: None,
            sha256: "0".repeat(64),
            size: bytes.len() as u64,
            created: Timestamp::from_millis(i64::try_from(kept.len()).unwrap()),
        };
        kept.insert(0, (record, bytes));
        Ok(Uploaded { id, is_new: true })
    }

    async fn list(&self) -> Result<Vec<AssetRecord>, LibraryError> {
        Ok(self.kept().iter().map(|(record, _)| record.clone()).collect())
    }

    async fn open(&self, id: &str) -> Result<(AssetRecord, File), LibraryError> {
        let found = self.kept().iter().find(|(record, _)| record.id == id).cloned();
        let (record, bytes) = found.ok_or_else(|| LibraryError::Unknown { id: id.to_owned() })?;
        let mut file = tempfile::tempfile()?;
        file.write_all(&bytes)?;
        file.rewind()?;
        Ok((record, File::from_std(file)))
    }

    async fn delete(&self, id: &str) -> Result<(), LibraryError> {
        if id == "f".repeat(40) {
            return Err(LibraryError::InUse { id: id.to_owned(), ex_id: ExId::from_random([1; 16]) });
        }
        let mut kept = self.kept();
        let before = kept.len();
        kept.retain(|(record, _)| record.id != id);
        if kept.len() == before { Err(LibraryError::Unknown { id: id.to_owned() }) } else { Ok(()) }
    }
}
