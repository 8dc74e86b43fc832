//! The compile cache: machine code on disk, each file with a keyed hash.
//!
//! Machine code is loaded without checks of its own, so a file that this machine has not written is as good as code from
//! anywhere: what does not carry the hash under this cache's key is compiled again.

use std::{
    fs::{self, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use wasmtime::{Engine, component::Component};

use crate::{bundle::Bundle, engine::Tier};

const KEY_LEN: usize = 32;
const MAC_LEN: usize = 32;

/// Compiled components on disk, as `<digest>-<compatibility>-<tier>.cwasm`: the hash, then the code.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_LEN],
}

impl Cache {
    /// Opens the cache in `folder`, or makes it: a folder that only this user can read.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), key: key(&folder.join("key"))? })
    }

    /// Returns the compiled component, from the cache or compiled now.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        tier: Tier,
        bundle: &Bundle,
    ) -> wasmtime::Result<Component> {
        let path = self.path(engine, tier, bundle);
        if let Some(component) = self.load(engine, &path) {
            return Ok(component);
        }
        let component = Component::new(engine, &bundle.module)?;
        let stored = component.serialize().and_then(|code| Ok(self.store(&path, &code)?));
        if let Err(error) = stored {
            tracing::warn!(path = %path.display(), %error, "failed to keep compiled asset");
        }
        Ok(component)
    }

    fn path(&self, engine: &Engine, tier: Tier, bundle: &Bundle) -> PathBuf {
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        let (digest, tier) = (&bundle.digest, tier.as_str());
        self.folder.join(format!("{digest}-{:016x}-{tier}.cwasm", compatibility.finish()))
    }

    fn load(&self, engine: &Engine, path: &Path) -> Option<Component> {
        let file = fs::read(path).ok()?;
        let (mac, code) = file.split_at_checked(MAC_LEN)?;
        if blake3::keyed_hash(&self.key, code).as_bytes() != mac {
            tracing::warn!(path = %path.display(), "compiled asset was changed, compiling it again");
            return None;
        }
        #[expect(unsafe_code, reason = "machine code cannot be checked, only known")]
        // SAFETY: the keyed hash shows that this cache has written the code, and the bytes cannot change any more.
        let component = unsafe { Component::deserialize(engine, code) };
        component
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "compiled asset refused"))
            .ok()
    }

    /// Writes aside, then renames: nobody sees half a file.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(blake3::keyed_hash(&self.key, code).as_bytes())?;
        file.write_all(code)?;
        drop(file);
        fs::rename(aside, path)
    }
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
