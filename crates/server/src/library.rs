//! The library: where published assets are kept.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use teraslice_core::store::StoreError;
use teraslice_model::{asset::AssetRecord, id::ExId};
use tokio::fs::File;

/// Keeps the bundles of published assets, each under the id that its content gives it.
///
/// # Guarantees
///
/// - A bundle is listed only once it was checked and lies complete under its id; a reader never sees half of one.
/// - An upload that fails, or whose future is dropped, leaves nothing behind that is listed.
#[async_trait]
pub trait Library: Send + Sync + 'static {
    /// Takes in a bundle as it arrives, checks and publishes it.
    ///
    /// # Errors
    ///
    /// See [`LibraryError`].
    async fn upload(&self, body: BoxStream<'static, io::Result<Bytes>>) -> Result<Uploaded, LibraryError>;

    /// Lists all assets, the newest first.
    ///
    /// # Errors
    ///
    /// See [`LibraryError`].
    async fn list(&self) -> Result<Vec<AssetRecord>, LibraryError>;

    /// Opens a bundle for reading.
    ///
    /// # Errors
    ///
    /// See [`LibraryError`].
    async fn open(&self, id: &str) -> Result<(AssetRecord, File), LibraryError>;

    /// Removes an asset that no active execution uses.
    ///
    /// # Errors
    ///
    /// See [`LibraryError`].
    async fn delete(&self, id: &str) -> Result<(), LibraryError>;
}

/// What became of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The asset.
    pub id: String,
    /// Whether it is new; false: the same bundle was there already.
    pub is_new: bool,
}

/// Why the library did not do what it was asked, split by what the answer is.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// What was uploaded is no zip, or not all of it arrived.
    #[error("failed to save asset: {reason}")]
    NotZip {
        /// What is wrong with it.
        reason: String,
    },
    /// The bundle is none that can be published.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// There is another asset with that name and version.
    #[error("asset {name} {version} exists already, with id {id}; a changed asset needs another version")]
    Exists {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The id of the one that is there.
        id: String,
    },
    /// There is no such asset.
    #[error("unable to find asset {id}")]
    Unknown {
        /// The id.
        id: String,
    },
    /// An execution that has not ended uses it.
    #[error("asset {id} is used by execution {ex_id}, which has not ended")]
    InUse {
        /// The asset.
        id: String,
        /// The execution.
        ex_id: ExId,
    },
    /// The disk does not do as asked.
    #[error("failed to use the assets directory")]
    Disk(#[from] io::Error),
    /// The store does not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}
