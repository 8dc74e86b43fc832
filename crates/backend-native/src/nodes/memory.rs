//! The file in which a master that starts anew finds what may run where.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

use teraslice_core::context::Context;
use tokio::{sync::watch, time::sleep};

use super::{Shared, cluster::Saved};

/// Changes are collected for so long before the file is written.
const COLLECT_FOR: Duration = Duration::from_millis(100);

/// Reads the file. Without one that can be read nothing is known, as at the first start.
pub(super) fn read(path: &Path) -> Option<Saved> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what runs on the nodes cannot be read");
            return None;
        }
    };
    match serde_json::from_slice::<Saved>(&bytes) {
        Ok(saved) if saved.is_readable() => Some(saved),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "what runs on the nodes was written by another version");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what runs on the nodes cannot be read");
            None
        }
    }
}

/// Writes the file; a reader sees the whole of it or the one before.
pub(super) fn write(path: &Path, saved: &Saved) {
    let part = path.with_extension("part");
    let written = serde_json::to_vec(saved)
        .map_err(io::Error::from)
        .and_then(|bytes| fs::write(&part, bytes))
        .and_then(|()| fs::rename(&part, path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "what runs on the nodes cannot be written");
    }
}

/// Writes the file whenever something has changed, until the backend is gone.
pub(super) async fn keep(
    path: PathBuf,
    mut changes: watch::Receiver<u64>,
    shared: Weak<Shared>,
    context: Context,
) {
    let mut last = None;
    while changes.changed().await.is_ok() {
        sleep(COLLECT_FOR).await;
        changes.mark_unchanged();
        let Some(saved) = shared.upgrade().map(|shared| shared.lock().save()) else { return };
        if last.as_ref() != Some(&saved) {
            let path = path.clone();
            let write = move || {
                write(&path, &saved);
                saved
            };
            last = Some(context.compute(write).await);
        }
    }
}
