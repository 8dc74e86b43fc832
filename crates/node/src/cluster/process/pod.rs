//! What a process does first that was not started by a node: it shows its token to the master, and is told what it is for.

use std::{env, fs, path::PathBuf};

use teraslice_core::{
    backend::variables::{TOKEN, TOKEN_FILE},
    context::Context,
};
use teraslice_rpc::{
    ConnectError, Peer,
    introduce::{Introduction, introduce},
    secret::Secret,
};
use tokio::time::timeout;

use super::{Pauses, ProcessError};
use crate::{
    assets::cache::NodeAssets,
    parts::{Parts, chain},
};

/// By what the master knows this process.
pub(super) enum Token {
    /// The file of a pod, renewed in place.
    File(PathBuf),
    /// The word that a backend of a third party has passed on.
    Word(Secret),
}

/// Returns the token of this process; none if it was started by a node.
pub(super) fn token() -> Option<Token> {
    let file = env::var_os(TOKEN_FILE).map(|path| Token::File(path.into()));
    file.or_else(|| env::var(TOKEN).ok().map(|word| Token::Word(Secret::from_text(word))))
}

impl Token {
    fn secret(&self) -> Result<Secret, ProcessError> {
        match self {
            // Read anew each time: tokens are replaced before they end.
            Self::File(path) => fs::read_to_string(path)
                .map(|word| Secret::from_text(word.trim()))
                .map_err(|source| ProcessError::Token { path: path.clone(), source }),
            Self::Word(word) => Ok(word.clone()),
        }
    }
}

/// Asks the master what this process is for, until it answers, and fetches the assets that are not mounted here.
pub(super) fn enter(parts: &Parts, master: &Peer, token: &Token) -> Result<Introduction, ProcessError> {
    // The runtime of the process comes later: assets are compiled before.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ProcessError::Runtime)?;
    let entered = runtime.block_on(async {
        let context = Context::system();
        let within = parts.config().worker_disconnect_timeout;
        let introduced = timeout(within, introduced(master, token, &context)).await;
        let introduction = introduced.map_err(|_| ProcessError::NoMaster { within })??;
        fetch(parts, master, &introduction, &context).await?;
        Ok(introduction)
    });
    runtime.shutdown_background();
    entered
}

async fn introduced(master: &Peer, token: &Token, context: &Context) -> Result<Introduction, ProcessError> {
    let mut pauses = Pauses::new(context.clone());
    loop {
        match introduce(master, &token.secret()?).await {
            Ok(introduction) => return Ok(introduction),
            Err(error @ ConnectError::Unreachable { .. }) => {
                tracing::debug!(reason = chain(&error), "master not reached, trying again");
                pauses.wait().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Fetches the assets of the job from the master, but those that lie here: on the shared volume all do.
async fn fetch(
    parts: &Parts,
    master: &Peer,
    introduction: &Introduction,
    context: &Context,
) -> Result<(), ProcessError> {
    let folders = &parts.config().assets_directories;
    let ids = introduction.job.get("assets").and_then(|assets| assets.as_array());
    let ids = ids.into_iter().flatten().filter_map(|id| id.as_str());
    let is_here = |id: &str| folders.iter().any(|folder| folder.join(format!("{id}.zip")).is_file());
    let missing: Vec<_> = ids.filter(|id| !is_here(id)).map(str::to_owned).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let assets = NodeAssets::from_master(parts, master, context)
        .map_err(|source| ProcessError::Assets { path: parts.config().assets_folder(), source })?;
    let fetched = assets.ensure(&missing, introduction.bundle_token.as_deref()).await;
    fetched.map_err(ProcessError::Fetch)
}
