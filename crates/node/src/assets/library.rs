//! The library on disk: a zip per asset, named by its id, and a record of each in the state store.
//!
//! ```text
//! upload    into .aside-… -> checked -> mark .pending-<id> -> <id>.zip by rename -> record -> mark gone
//! delete    mark .pending-<id> -> record gone -> file gone -> mark gone
//! start     a mark that a dead process has left: the record says whether the file stays
//! ```

mod intake;

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use teraslice_core::{
    context::Context,
    store::{ExecutionQuery, Page, StateStore, StoreError},
};
use teraslice_model::{asset::AssetRecord, status::Status};
use teraslice_runtime_wasm::bundle::{identify, is_id};
use teraslice_server::library::{Library, LibraryError, Uploaded};
use tokio::{
    io::AsyncReadExt,
    sync::{Mutex, Semaphore},
    time::timeout,
};

use super::{
    STANDARD,
    aside::{self, Mark},
    embedded,
};
use crate::parts::{Parts, chain};
use intake::{Received, receive};

/// Executions that are looked at in one go.
const PAGE: u64 = 500;
/// Bytes of a file that are read in one go.
const CHUNK: usize = 64 << 10;

/// How a library takes in bundles.
#[derive(Clone, Debug)]
pub struct LibraryOptions {
    /// Where the bundles lie.
    pub folder: PathBuf,
    /// Bytes of a bundle at the most (default 512 MiB).
    pub size_max: u64,
    /// Bytes of what a bundle holds, unpacked, at the most (default 2 GiB).
    pub unpacked_max: u64,
    /// Uploads at once (default 4).
    pub uploads_max: usize,
    /// How long another upload waits for its turn (default 30 s).
    pub turn_wait: Duration,
    /// How long an upload may send nothing (default 60 s).
    pub idle_max: Duration,
}

impl LibraryOptions {
    /// Returns the usual ones for a folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            size_max: 512 << 20,
            unpacked_max: 2 << 30,
            uploads_max: 4,
            turn_wait: Duration::from_secs(30),
            idle_max: Duration::from_mins(1),
        }
    }
}

/// Keeps bundles in a folder and their records in the state store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DiskLibrary {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: LibraryOptions,
    parts: Parts,
    store: Arc<dyn StateStore>,
    context: Context,
    uploads: Arc<Semaphore>,
    /// Held while the files and records are changed.
    turn: Mutex<()>,
}

impl DiskLibrary {
    /// Opens the library in a folder, which is made if need be, and removes what a dead process has left half done.
    ///
    /// # Errors
    ///
    /// When the folder or the store cannot be used.
    pub async fn open(
        options: LibraryOptions,
        parts: Parts,
        store: Arc<dyn StateStore>,
        context: Context,
    ) -> Result<Self, LibraryError> {
        let uploads = Arc::new(Semaphore::new(options.uploads_max));
        let turn = Mutex::new(());
        let library = Self { inner: Arc::new(Inner { options, parts, store, context, uploads, turn }) };
        let records = library.inner.store.assets().await?;
        library.on_disk(move |inner| inner.sweep(&records)).await?;
        Ok(library)
    }

    /// Publishes the standard asset of this binary, if it is not there.
    ///
    /// # Errors
    ///
    /// See [`LibraryError`]; that another bundle has its name and version is said in the log only.
    pub async fn publish_standard(&self) -> Result<(), LibraryError> {
        match embedded() {
            Some(zip) => self.publish_own(zip).await,
            None => Ok(()),
        }
    }

    async fn publish_own(&self, zip: &'static [u8]) -> Result<(), LibraryError> {
        let body = stream::once(async move { Ok(Bytes::from_static(zip)) }).boxed();
        // It was checked when it was built.
        match self.inner.receive(body).await?.publish_unchecked(Arc::clone(&self.inner)).await {
            Ok(Uploaded { id, is_new: true }) => tracing::info!(%id, "standard asset published"),
            Ok(_) => {}
            Err(LibraryError::Exists { version, id, .. }) => {
                tracing::warn!(
                    asset = STANDARD,
                    version,
                    id,
                    "another bundle has the version of this binary's"
                );
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Uploads every zip of a folder, by name; what cannot be published is said in the log. A folder that is not there is
    /// empty.
    pub async fn autoload(&self, folder: &std::path::Path) {
        let mut paths: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|kind| kind == "zip"));
        paths.sort_unstable();
        for path in paths {
            match self.upload_file(&path).await {
                Ok(Uploaded { id, is_new: true }) => {
                    tracing::info!(path = %path.display(), id, "asset loaded")
                }
                Ok(_) | Err(LibraryError::Exists { .. }) => {
                    tracing::debug!(path = %path.display(), "asset was loaded before");
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::error!(path = %path.display(), reason, "failed to load asset");
                }
            }
        }
    }

    async fn upload_file(&self, path: &std::path::Path) -> Result<Uploaded, LibraryError> {
        let file = tokio::fs::File::open(path).await?;
        let chunks = stream::try_unfold(file, |mut file| async move {
            let mut chunk = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
            Ok((!chunk.is_empty()).then_some((Bytes::from(chunk), file)))
        });
        self.upload(chunks.boxed()).await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, LibraryError> + Send + 'static,
    ) -> Result<T, LibraryError> {
        let inner = Arc::clone(&self.inner);
        self.inner.context.compute(move || work(&inner)).await
    }
}

#[async_trait]
impl Library for DiskLibrary {
    async fn upload(&self, body: BoxStream<'static, io::Result<Bytes>>) -> Result<Uploaded, LibraryError> {
        let inner = Arc::clone(&self.inner);
        let turn = timeout(inner.options.turn_wait, Arc::clone(&inner.uploads).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let reason = "too many uploads at once, try again later".to_owned();
            return Err(StoreError::Unavailable { reason }.into());
        };
        let received = inner.receive(body).await?;
        // Once all of it is here it goes on, whether somebody waits for the answer or not.
        let taken = self.inner.context.spawn(async move {
            let _turn = turn;
            received.publish(inner).await
        });
        taken.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn list(&self) -> Result<Vec<AssetRecord>, LibraryError> {
        Ok(self.inner.store.assets().await?)
    }

    async fn open(&self, id: &str) -> Result<(AssetRecord, tokio::fs::File), LibraryError> {
        let record = self.inner.record(id).await?;
        let file = tokio::fs::File::open(self.inner.path(id)).await?;
        Ok((record, file))
    }

    async fn delete(&self, id: &str) -> Result<(), LibraryError> {
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        // Not left half done when nobody waits for the answer any more.
        let done = self.inner.context.spawn(async move { inner.delete(&id).await });
        done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

impl Inner {
    fn path(&self, id: &str) -> PathBuf {
        self.options.folder.join(format!("{id}.zip"))
    }

    async fn receive(&self, body: BoxStream<'static, io::Result<Bytes>>) -> Result<Received, LibraryError> {
        receive(&self.options, body).await
    }

    async fn record(&self, id: &str) -> Result<AssetRecord, LibraryError> {
        let unknown = || LibraryError::Unknown { id: id.to_owned() };
        if !is_id(id) {
            return Err(unknown());
        }
        self.store.assets().await?.into_iter().find(|record| record.id == id).ok_or_else(unknown)
    }

    async fn delete(&self, id: &str) -> Result<(), LibraryError> {
        let _turn = self.turn.lock().await;
        let record = self.record(id).await?;
        self.check_unused(id).await?;
        let mark = Mark::set(&self.options.folder, id)?;
        match self.store.delete_asset(id).await {
            Ok(()) => {}
            Err(StoreError::NotFound { .. }) => return Err(LibraryError::Unknown { id: id.to_owned() }),
            Err(error) => return Err(error.into()),
        }
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(id, %error, "failed to remove the bundle of a deleted asset");
            }
            _ => tracing::info!(id, name = record.name, version = record.version, "asset deleted"),
        }
        drop(mark);
        Ok(())
    }

    /// Refuses while an execution that has not ended has the asset in its job.
    async fn check_unused(&self, id: &str) -> Result<(), LibraryError> {
        let statuses: Vec<_> = Status::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
        let mut page = Page { from: 0, size: PAGE };
        loop {
            let query = ExecutionQuery { statuses: statuses.clone(), page, ..ExecutionQuery::default() };
            let found = self.store.executions(query).await?;
            let uses = |assets: &serde_json::Value| {
                assets.as_array().into_iter().flatten().any(|asset| asset.as_str() == Some(id))
            };
            if let Some(user) = found.iter().find(|found| found.job.get("assets").is_some_and(uses)) {
                return Err(LibraryError::InUse { id: id.to_owned(), ex_id: user.ex_id });
            }
            if (found.len() as u64) < PAGE {
                return Ok(());
            }
            page.from += PAGE;
        }
    }

    /// Tells whether the file of an asset is there as it was published.
    fn has_file(&self, record: &AssetRecord) -> bool {
        let path = self.path(&record.id);
        let is_long_enough = path.metadata().is_ok_and(|file| file.len() == record.size);
        is_long_enough && identify(&path).is_ok_and(|found| found.sha256 == record.sha256)
    }

    fn sweep(&self, records: &[AssetRecord]) -> Result<(), LibraryError> {
        let folder = &self.options.folder;
        fs::create_dir_all(folder)?;
        for id in aside::sweep(folder)? {
            let mark = Mark::set(folder, &id)?;
            if is_id(&id) && !records.iter().any(|record| record.id == id) {
                match fs::remove_file(self.path(&id)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    _ => tracing::info!(id, "removed a bundle that was never published"),
                }
            }
            drop(mark);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
