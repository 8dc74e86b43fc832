//! The tokens that a master makes by itself: one for its nodes, and the first one for people.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use teraslice_core::{context::Context, store::StateStore};
use teraslice_model::access::{AccessRole, TokenRecord};
use teraslice_rpc::secret::ClusterKey;
use teraslice_server::access::{draw, hash};

use super::MasterError;

/// The name of the token that nodes fetch bundles with.
const NODES: &str = "(nodes)";
/// The name of the first token for people.
const FIRST: &str = "admin";
/// The file in the state directory that holds the word of the first token.
const FILE: &str = "admin.token";

/// Makes the tokens that are missing; returns the word of the nodes.
pub(super) async fn prepare(
    store: &dyn StateStore,
    key: &ClusterKey,
    state_directory: &Path,
    context: &Context,
) -> Result<String, MasterError> {
    let word = key.node(NODES).expose().to_owned();
    let known = store.tokens().await?;
    let record = TokenRecord {
        name: NODES.to_owned(),
        role: AccessRole::Read,
        hash: hash(&word),
        created: context.wall(),
    };
    match known.iter().find(|token| token.name == NODES) {
        Some(token) if token.hash == record.hash => {}
        Some(_) => {
            // The cluster has another key than before.
            store.delete_token(NODES).await?;
            store.create_token(record).await?;
        }
        None => store.create_token(record).await?,
    }
    if known.iter().all(|token| token.name == NODES) {
        let path = state_directory.join(FILE);
        let failed = |source| MasterError::File { path: path.clone(), source };
        let first = draw(FIRST, AccessRole::Admin, context.wall()).map_err(failed)?;
        write(&path, &first.word).map_err(failed)?;
        store.create_token(first.record).await?;
        tracing::info!(path = %path.display(), "first token made: its word is in this file");
    }
    Ok(word)
}

/// Writes a file that only this user can read.
fn write(path: &Path, word: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(word.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
