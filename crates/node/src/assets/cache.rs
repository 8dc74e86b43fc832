//! The assets of a node: fetched from the master when a job needs them, checked, compiled ahead.
//!
//! ```text
//! ensure(ids)   <id>.zip there and whole? -> compiled
//!               else GET {master}/v1/assets/<id>/bundle -> .aside-… -> id right? -> <id>.zip by rename -> compiled
//! ```

use std::{
    collections::HashMap,
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, try_join_all},
};
use teraslice_core::context::Context;
use teraslice_model::{job::Sandbox, problem::Problem};
use teraslice_rpc::Peer;
use teraslice_runtime_wasm::bundle::{Digests, identify, is_id};
use ureq::{
    Agent,
    http::{StatusCode, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::{
    Loaded,
    aside::{self, Aside},
};
use crate::parts::{Parts, chain};

/// Characters of a SHA-256 in hexadecimal.
const SHA256_LEN: usize = 64;
/// Bytes that are read in one go.
const CHUNK: usize = 64 << 10;
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How a node gets its assets.
#[derive(Clone)]
pub struct CacheOptions {
    /// Where the bundles lie: the first folder of `assets_directory`; may be shared with others, the master too.
    pub folder: PathBuf,
    /// Where the master is, as in `http://master:5678`.
    pub master: String,
    /// The certificates of those who are believed, PEM, where the master's links are encrypted.
    pub ca_pem: Option<String>,
    /// Bytes of a bundle at the most (default 512 MiB).
    pub size_max: u64,
    /// Tries of a download (default 5).
    pub tries_max: u32,
    /// The pause after the first try, doubled after each further one (default 200 ms).
    pub pause: Duration,
    /// How long a connection may take (default 5 s).
    pub connect_max: Duration,
    /// How long a whole download may take (default 10 minutes).
    pub download_max: Duration,
}

impl CacheOptions {
    /// Returns the usual ones for a folder and a master.
    #[must_use]
    pub fn new(folder: PathBuf, master: impl Into<String>) -> Self {
        Self {
            folder,
            master: master.into(),
            ca_pem: None,
            size_max: 512 << 20,
            tries_max: 5,
            pause: Duration::from_millis(200),
            connect_max: Duration::from_secs(5),
            download_max: Duration::from_mins(10),
        }
    }
}

impl std::fmt::Debug for CacheOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { folder, master, .. } = self;
        f.debug_struct("CacheOptions").field("folder", folder).field("master", master).finish_non_exhaustive()
    }
}

/// An asset that a node cannot have.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The master has none with that id.
    #[error("the master has no asset {id}")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The master does not let this node have it.
    #[error("the master refuses to hand out asset {id}: it answers {status}")]
    Refused {
        /// The id.
        id: String,
        /// Its answer.
        status: u16,
    },
    /// The master cannot hand it out now.
    #[error("the master cannot hand out asset {id}: it answers {status}")]
    Status {
        /// The id.
        id: String,
        /// Its answer.
        status: u16,
    },
    /// The master cannot be reached, or the connection has broken off.
    #[error("failed to fetch asset {id}")]
    Connection {
        /// The id.
        id: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// What has come is another bundle, or not all of one.
    #[error("what the master sent as asset {id} is another: {found}, {len} bytes")]
    Content {
        /// The id.
        id: String,
        /// The id of what has come.
        found: String,
        /// Its bytes.
        len: u64,
    },
    /// It is larger than a bundle may be.
    #[error("asset {id} is larger than {max} bytes")]
    Large {
        /// The id.
        id: String,
        /// The limit.
        max: u64,
    },
    /// The disk does not do as asked.
    #[error("failed to keep asset {id}")]
    Disk {
        /// The id.
        id: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// It is there, and does not run here.
    #[error("asset {id} cannot run on this node: {}", problems.first().map(ToString::to_string).unwrap_or_default())]
    Load {
        /// The id.
        id: String,
        /// What is in the way.
        problems: Vec<Problem>,
    },
}

impl FetchError {
    /// Tells whether another try may do better.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Connection { .. } | Self::Content { .. })
    }
}

type Outcome = Result<(), Arc<FetchError>>;
type Ensuring = Shared<BoxFuture<'static, Outcome>>;

/// Has the assets of jobs on this node before their processes start. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeAssets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: CacheOptions,
    parts: Parts,
    context: Context,
    agent: Agent,
    /// By id: those that are being seen to, and those that are there, with their bytes.
    ensuring: Mutex<HashMap<String, Ensuring>>,
    ready: Mutex<HashMap<String, u64>>,
}

impl NodeAssets {
    /// Opens the folder of the configuration, for what comes from this master.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used.
    pub fn from_master(parts: &Parts, master: &Peer, context: &Context) -> io::Result<Self> {
        let options = CacheOptions::new(parts.config().assets_folder(), &master.endpoint);
        let options = CacheOptions { ca_pem: master.ca_pem.clone(), ..options };
        Self::open(options, parts.clone(), context.clone())
    }

    /// Opens the folder, which is made if need be, and removes what a dead process has left half done.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used.
    pub fn open(options: CacheOptions, parts: Parts, context: Context) -> io::Result<Self> {
        fs::create_dir_all(&options.folder)?;
        // Marks are the business of the library that has set them.
        let _marked = aside::sweep(&options.folder)?;
        let mut agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(options.connect_max))
            .timeout_global(Some(options.download_max));
        if let Some(pem) = &options.ca_pem {
            let believed = Certificate::from_pem(pem.as_bytes()).map_err(io::Error::other)?;
            let roots = RootCerts::new_with_certs(&[believed]);
            agent = agent.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let agent = agent.build().new_agent();
        let (ensuring, ready) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { options, parts, context, agent, ensuring, ready }) })
    }

    /// Returns when every asset lies in the folder, is what its id says, and is compiled. What several ask for at once is
    /// fetched once. The token is what the master asks for, if it does.
    ///
    /// # Errors
    ///
    /// The first that cannot be had.
    pub async fn ensure(&self, ids: &[String], token: Option<&str>) -> Result<(), Arc<FetchError>> {
        try_join_all(ids.iter().map(|id| self.ensuring(id, token))).await.map(drop)
    }

    /// Compiles the standard asset; a failure is said in the log, and by the first job that needs it.
    pub async fn warm_standard(&self) {
        let parts = self.inner.parts.clone();
        let warm = move || Loaded::new(&parts, &[], &Sandbox::default(), 1)?.warm();
        if let Err(problems) = self.inner.context.compute(warm).await {
            let reason = problems.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(reason, "failed to compile the standard asset");
        }
    }

    fn ensuring(&self, id: &str, token: Option<&str>) -> Ensuring {
        let mut all = self.inner.ensuring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ensuring) = all.get(id) {
            return ensuring.clone();
        }
        let (inner, key, token) = (Arc::clone(&self.inner), id.to_owned(), token.map(str::to_owned));
        // A task of its own: it goes on when the first who asked has left.
        let task = self.inner.context.spawn(async move {
            let outcome = inner.ensure(&key, token).await.map_err(Arc::new);
            inner.ensuring.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            outcome
        });
        let joined =
            task.map(|ended| ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
        let ensuring = joined.boxed().shared();
        all.insert(id.to_owned(), ensuring.clone());
        ensuring
    }
}

impl Inner {
    async fn ensure(self: &Arc<Self>, id: &str, token: Option<String>) -> Result<(), FetchError> {
        if !is_id(id) {
            return Err(FetchError::Unknown { id: id.to_owned() });
        }
        let path = self.options.folder.join(format!("{id}.zip"));
        let len = path.metadata().ok().map(|file| file.len());
        let known = self.ready.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        if len.is_some() && len == known {
            return Ok(());
        }
        let (there, wanted) = (path.clone(), id.to_owned());
        let is_there = move || identify(&there).is_ok_and(|found| found.id == wanted);
        if !self.context.compute(is_there).await {
            self.fetch(id, &path, token).await?;
        }
        let (parts, wanted) = (self.parts.clone(), id.to_owned());
        let load = move || {
            let loaded = Loaded::new(&parts, std::slice::from_ref(&wanted), &Sandbox::default(), 1);
            loaded.map(drop).map_err(|problems| FetchError::Load { id: wanted, problems })
        };
        self.context.compute(load).await?;
        if let Ok(file) = path.metadata() {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), file.len());
        }
        Ok(())
    }

    /// Tries as often as it may.
    async fn fetch(self: &Arc<Self>, id: &str, path: &Path, token: Option<String>) -> Result<(), FetchError> {
        let mut pause = self.options.pause;
        for tried in 1.. {
            let (inner, wanted, path, token) =
                (Arc::clone(self), id.to_owned(), path.to_owned(), token.clone());
            let fetched = self
                .context
                .compute(move || fetch(&inner.agent, &inner.options, &wanted, token.as_deref(), &path));
            let error = match fetched.await {
                Ok(()) => break,
                Err(error) if error.is_passing() && tried < self.options.tries_max => error,
                Err(error) => return Err(error),
            };
            tracing::warn!(id, tried, reason = chain(&error), "asset not fetched, trying again");
            tokio::time::sleep(self.context.jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        tracing::info!(id, "asset fetched");
        Ok(())
    }
}

/// Fetches a bundle and puts it in its place, if it is the one that was asked for.
fn fetch(
    agent: &Agent,
    options: &CacheOptions,
    id: &str,
    token: Option<&str>,
    path: &Path,
) -> Result<(), FetchError> {
    let owned = || id.to_owned();
    let disk = |source| FetchError::Disk { id: owned(), source };
    let connection = |source| FetchError::Connection { id: owned(), source };
    let url = format!("{}/v1/assets/{id}/bundle", options.master.trim_end_matches('/'));
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = request.call().map_err(|error| connection(error.into_io()))?;
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(FetchError::Unknown { id: owned() }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(FetchError::Refused { id: owned(), status: status.as_u16() });
        }
        other => return Err(FetchError::Status { id: owned(), status: other.as_u16() }),
    }
    // The master tells the SHA-256 as the tag of the bundle.
    let tag = response.headers().get(header::ETAG).and_then(|value| value.to_str().ok());
    let sha256 = tag.map(|tag| tag.trim_matches('"').to_owned()).filter(|tag| tag.len() == SHA256_LEN);
    let aside = Aside::create(&options.folder).map_err(disk)?;
    let mut digests = Digests::default();
    let mut body = response.into_body().into_with_config().limit(options.size_max + 1).reader();
    let (mut chunk, mut len) = (vec![0; CHUNK], 0);
    loop {
        let read = body.read(&mut chunk).map_err(connection)?;
        if read == 0 {
            break;
        }
        len += read as u64;
        if len > options.size_max {
            return Err(FetchError::Large { id: owned(), max: options.size_max });
        }
        digests.update(&chunk[..read]);
        aside.file().write_all(&chunk[..read]).map_err(disk)?;
    }
    let found = digests.finish();
    if found.id != id || sha256.is_some_and(|sha256| !sha256.eq_ignore_ascii_case(&found.sha256)) {
        return Err(FetchError::Content { id: owned(), found: found.id, len });
    }
    aside.publish(path).map_err(disk)
}

#[cfg(test)]
mod tests;
