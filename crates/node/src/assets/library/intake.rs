//! The way of a bundle into the library: received, checked, published.

use std::{io, io::Write as _, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use semver::Version;
use teraslice_core::store::StoreError;
use teraslice_model::{asset::AssetRecord, job::Sandbox};
use teraslice_runtime_wasm::{
    Bundle, BundleError, Tier,
    bundle::{Digests, Identity},
};
use teraslice_server::library::{LibraryError, Uploaded};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use super::{Inner, LibraryOptions};
use crate::{
    assets::aside::{Aside, Mark},
    parts::chain,
};

/// Chunks that wait for the disk.
const CHUNKS_MAX: usize = 16;

/// A bundle that has come whole and lies aside.
#[derive(Debug)]
pub(super) struct Received {
    aside: Aside,
    identity: Identity,
}

/// Writes a body aside as it comes. When the future is dropped, what has come is removed.
pub(super) async fn receive(
    options: &LibraryOptions,
    mut body: BoxStream<'static, io::Result<Bytes>>,
) -> Result<Received, LibraryError> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let (folder, size_max) = (options.folder.clone(), options.size_max);
    let writer = spawn_blocking(move || write(Aside::create(&folder)?, chunks, size_max));
    loop {
        let chunk = timeout(options.idle_max, body.next()).await;
        let chunk = chunk
            .map_err(|_late| broken_off(&format!("nothing has come for {} s", options.idle_max.as_secs())))?;
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|error| broken_off(&error.to_string()))?;
        // A writer that has ended says why, below.
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    writer.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn write(aside: Aside, mut chunks: mpsc::Receiver<Bytes>, size_max: u64) -> Result<Received, LibraryError> {
    let mut digests = Digests::default();
    let mut size = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        size += chunk.len() as u64;
        if size > size_max {
            return Err(invalid(format!("the bundle is larger than {size_max} bytes")));
        }
        aside.file().write_all(&chunk)?;
        digests.update(&chunk);
    }
    if size == 0 {
        return Err(LibraryError::NotZip { reason: "the upload is empty".to_owned() });
    }
    Ok(Received { aside, identity: digests.finish() })
}

impl Received {
    /// Checks the bundle as a job would load it, and publishes it.
    pub(super) async fn publish(self, inner: Arc<Inner>) -> Result<Uploaded, LibraryError> {
        self.take_in(inner, true).await
    }

    /// Publishes a bundle that is known to run.
    pub(super) async fn publish_unchecked(self, inner: Arc<Inner>) -> Result<Uploaded, LibraryError> {
        self.take_in(inner, false).await
    }

    async fn take_in(self, inner: Arc<Inner>, is_checked: bool) -> Result<Uploaded, LibraryError> {
        let records = inner.store.assets().await?;
        if let Some(record) = records.iter().find(|record| record.id == self.identity.id) {
            return self.put_back(inner, record.clone()).await;
        }
        let (context, checking) = (inner.context.clone(), Arc::clone(&inner));
        let checked = context.compute(move || self.check(&checking, &records, is_checked)).await;
        let (received, record) = checked?;
        received.publish_as(inner, record).await
    }

    /// Answers for a bundle that is there already; its file is put back if it was lost.
    async fn put_back(self, inner: Arc<Inner>, record: AssetRecord) -> Result<Uploaded, LibraryError> {
        if self.identity.sha256 != record.sha256 {
            let id = &record.id;
            return Err(invalid(format!("another bundle has the id {id}: change anything in this one")));
        }
        let context = inner.context.clone();
        let put_back = context.compute(move || {
            if !inner.has_file(&record) {
                self.aside.publish(&inner.path(&record.id))?;
                tracing::warn!(id = record.id, name = record.name, "lost bundle of an asset was put back");
            }
            Ok(Uploaded { id: record.id, is_new: false })
        });
        put_back.await
    }

    /// Makes the record; on a thread that may be kept busy, as the module is compiled.
    fn check(
        self,
        inner: &Inner,
        records: &[AssetRecord],
        is_loaded: bool,
    ) -> Result<(Self, AssetRecord), LibraryError> {
        let Identity { id, sha256, len } = self.identity.clone();
        let bundle = Bundle::check(self.aside.file(), &id, inner.options.unpacked_max).map_err(refused)?;
        check_versions(&bundle)?;
        let about = bundle.about.clone();
        let record = AssetRecord {
            id,
            name: bundle.name.clone(),
            version: bundle.version.clone(),
            description: about.description,
            node_version: about.node_version,
            platform: about.platform,
            arch: about.arch,
            minimum_teraslice_version: about.minimum_teraslice_version,
            sha256,
            size: len,
            created: inner.context.wall(),
        };
        check_unique(&record, records)?;
        if is_loaded {
            let runtime = inner.parts.sandbox(&Sandbox::default(), 1, Tier::Default);
            let runtime =
                runtime.map_err(|problems| invalid(problems.iter().map(ToString::to_string).collect()))?;
            runtime.load(bundle).map_err(|error| invalid(chain(&error)))?;
        }
        Ok((self, record))
    }

    async fn publish_as(self, inner: Arc<Inner>, record: AssetRecord) -> Result<Uploaded, LibraryError> {
        let _turn = inner.turn.lock().await;
        let records = inner.store.assets().await?;
        // Somebody may have been faster.
        if let Some(there) = records.iter().find(|there| there.id == record.id) {
            return self.put_back(Arc::clone(&inner), there.clone()).await;
        }
        check_unique(&record, &records)?;
        let (path, folder, id) = (inner.path(&record.id), inner.options.folder.clone(), record.id.clone());
        let placed = move || -> io::Result<Mark> {
            let mark = Mark::set(&folder, &id)?;
            self.aside.publish(&path)?;
            Ok(mark)
        };
        let mark = inner.context.compute(placed).await?;
        let (id, name, version) = (record.id.clone(), record.name.clone(), record.version.clone());
        match inner.store.create_asset(record.clone()).await {
            Ok(()) => {
                tracing::info!(id, name, version, "asset published");
                drop(mark);
                Ok(Uploaded { id, is_new: true })
            }
            Err(StoreError::Conflict { .. }) => inner.give_way(&record).await,
            // Whether the record was written is not known: the mark stays for the next start to see.
            Err(error) => {
                mark.leave();
                Err(error.into())
            }
        }
    }
}

impl Inner {
    /// Answers for a record that another master has made meanwhile.
    async fn give_way(&self, record: &AssetRecord) -> Result<Uploaded, LibraryError> {
        let records = self.store.assets().await?;
        if records.iter().any(|there| there.id == record.id) {
            return Ok(Uploaded { id: record.id.clone(), is_new: false });
        }
        std::fs::remove_file(self.path(&record.id))?;
        check_unique(record, &records)?;
        let reason = format!("asset {} was changed by somebody else, try again", record.name);
        Err(StoreError::Unavailable { reason }.into())
    }
}

/// Refuses a name and version that another bundle for the same platform has.
fn check_unique(record: &AssetRecord, records: &[AssetRecord]) -> Result<(), LibraryError> {
    let is_same = |other: &&AssetRecord| {
        (&other.name, &other.version, other.node_version, &other.platform, &other.arch)
            == (&record.name, &record.version, record.node_version, &record.platform, &record.arch)
    };
    records.iter().find(is_same).map_or(Ok(()), |other| {
        let AssetRecord { id, name, version, .. } = other.clone();
        Err(LibraryError::Exists { name, version, id })
    })
}

fn check_versions(bundle: &Bundle) -> Result<(), LibraryError> {
    if let Err(error) = Version::parse(&bundle.version) {
        return Err(invalid(format!("asset.json: version {:?} is not like 1.2.3: {error}", bundle.version)));
    }
    let Some(wanted) = &bundle.about.minimum_teraslice_version else { return Ok(()) };
    let ours = env!("CARGO_PKG_VERSION");
    let parsed = Version::parse(wanted.trim_start_matches([' ', '=', 'v', '>'])).map_err(|error| {
        invalid(format!("asset.json: minimum_teraslice_version {wanted:?} is not like 1.2.3: {error}"))
    })?;
    if Version::parse(ours).is_ok_and(|ours| parsed > ours) {
        return Err(invalid(format!(
            "asset {} needs Teraslice {wanted} or later, this is {ours}",
            bundle.name
        )));
    }
    Ok(())
}

fn refused(error: BundleError) -> LibraryError {
    match error {
        BundleError::Io(error) => LibraryError::Disk(error),
        BundleError::Signature | BundleError::Cut | BundleError::Zip(_) => {
            LibraryError::NotZip { reason: chain(&error) }
        }
        other => invalid(chain(&other)),
    }
}

fn broken_off(reason: &str) -> LibraryError {
    LibraryError::NotZip { reason: format!("the upload has broken off: {reason}") }
}

fn invalid(reason: String) -> LibraryError {
    LibraryError::Invalid { reason }
}
