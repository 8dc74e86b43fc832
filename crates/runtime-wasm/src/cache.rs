//! The compile cache: machine code on disk, each file with a keyed hash.
//!
//! Machine code is loaded without checks of its own, so a file that this cache has not written is as good as code from
//! anywhere: what does not carry the hash under this cache's key is compiled again.

use std::{
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use memmap2::Mmap;
use rustix::fs::{FlockOperation, flock};
use wasmtime::{Engine, component::Component};

use crate::{
    bundle::Bundle,
    compiler::{CompileError, Compiler},
    engine::Tier,
};

const KEY_LEN: usize = 32;
const MAC_LEN: usize = 32;
/// How long to wait for another process that compiles the same module; then it is compiled here too.
const LOCK_WAIT: Duration = Duration::from_mins(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Compiled components on disk, as `<digest>-<compatibility>-<tier>.cwasm`: the code, then its hash.
///
/// ```text
/// load      map the file -> hash right? -> into the engine
/// compile   lock <name>.lock -> there by now? load : compile, write aside, rename -> unlock
///           then the files that were not used for longest go, until the rest fits
/// ```
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_LEN],
    bytes_max: u64,
}

impl Cache {
    /// Opens the cache in `folder`, or makes it: a folder that only this user can read.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), key: key(&folder.join("key"))?, bytes_max })
    }

    /// Returns the compiled component, from the cache or compiled now.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        tier: Tier,
        bundle: &Bundle,
        compiler: &Compiler,
    ) -> Result<Component, CompileError> {
        let path = self.path(engine, tier, bundle);
        if let Some(component) = self.load(engine, &path) {
            return Ok(component);
        }
        let _lock = self.lock(&path.with_extension("lock"));
        if let Some(component) = self.load(engine, &path) {
            return Ok(component);
        }
        let code = compiler.compile(engine, tier, &bundle.module)?;
        match self.store(&path, &code) {
            Ok(()) => self.shrink(&path),
            Err(error) => tracing::warn!(path = %path.display(), %error, "failed to keep compiled asset"),
        }
        deserialize(engine, &code)
    }

    fn path(&self, engine: &Engine, tier: Tier, bundle: &Bundle) -> PathBuf {
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        let (digest, tier) = (&bundle.digest, tier.as_str());
        self.folder.join(format!("{digest}-{:016x}-{tier}.cwasm", compatibility.finish()))
    }

    fn load(&self, engine: &Engine, path: &Path) -> Option<Component> {
        let file = File::open(path).ok()?;
        #[expect(unsafe_code, reason = "a file of 30 MB is not to be copied to be looked at")]
        // SAFETY: files of the cache are never changed, only replaced; only this user can reach them.
        let bytes = unsafe { Mmap::map(&file) }.ok()?;
        let (code, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_LEN)?)?;
        if blake3::keyed_hash(&self.key, code).as_bytes() != mac {
            tracing::warn!(path = %path.display(), "compiled asset was changed, compiling it again");
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the file system's own clock is this one")]
        let now = SystemTime::now();
        // When it was last used.
        let _touched = file.set_modified(now);
        #[expect(unsafe_code, reason = "machine code cannot be checked, only known")]
        // SAFETY: the keyed hash shows that this cache has written the code.
        let component = unsafe { Component::deserialize_file(engine, path) };
        component
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "compiled asset refused"))
            .ok()
    }

    /// Writes aside, then renames: nobody sees half a file.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(code)?;
        file.write_all(blake3::keyed_hash(&self.key, code).as_bytes())?;
        drop(file);
        fs::rename(aside, path)
    }

    /// Waits for others that compile the same; without a lock it is compiled twice, which does no harm.
    fn lock(&self, path: &Path) -> Option<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
        let mut waited = Duration::ZERO;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if waited >= LOCK_WAIT {
                tracing::warn!(path = %path.display(), "gave up waiting for another compiler");
                return None;
            }
            thread::sleep(LOCK_PAUSE);
            waited += LOCK_PAUSE;
        }
        Some(file)
    }

    /// Removes what was not used for longest, until the rest fits; never the newest.
    fn shrink(&self, newest: &Path) {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let compiled = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "cwasm"));
        let known = compiled.filter_map(|file| {
            let data = file.metadata().ok()?;
            Some((data.modified().ok()?, data.len(), file.path()))
        });
        let mut all: Vec<_> = known.collect();
        all.sort_unstable();
        let mut sum: u64 = all.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in all {
            if sum <= self.bytes_max {
                return;
            }
            if path != newest && fs::remove_file(&path).is_ok() {
                let _lock = fs::remove_file(path.with_extension("lock"));
                sum -= len;
            }
        }
    }
}

/// Takes machine code that was made just now.
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, CompileError> {
    #[expect(unsafe_code, reason = "machine code cannot be checked, only known")]
    // SAFETY: the compiler has made it, and nobody else has had it.
    let component = unsafe { Component::deserialize(engine, code) };
    component.map_err(|error| CompileError::Module(format!("{error:#}")))
}

/// Reads the cache's key, or makes one.
fn key(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    match fs::read(path) {
        Ok(stored) => stored.try_into().map_err(|_| {
            let text = format!("{} is not a cache key: remove it", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(path),
        Err(error) => Err(error),
    }
}

fn make_key(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    let mut new = [0; KEY_LEN];
    fs::File::open("/dev/urandom")?.read_exact(&mut new)?;
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&new)?;
    drop(file);
    // A link, not a rename: of two processes that make a key at once, the first one's stays.
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => key(path),
        other => other.map(|()| new),
    }
}
