//! Where sockets are: under the run directory, or elsewhere where its path is too long.

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::process::getuid;
use teraslice_model::id::ExId;

/// The system takes paths of at most this many bytes, the closing zero not counted.
const PATH_LEN_MAX: usize = 107;
/// Beside the socket, its name while it is made has to fit as well.
const SPARE: usize = 16;

/// Returns where the controller of an execution listens: the same for everybody who knows the run directory.
#[must_use]
pub fn path(run_directory: &Path, ex_id: ExId) -> PathBuf {
    let name = format!("{ex_id}.sock");
    let path = run_directory.join(&name);
    if path.as_os_str().as_bytes().len() + SPARE <= PATH_LEN_MAX {
        return path;
    }
    // Paths that differ must not meet in the short directory.
    let mut hasher = DefaultHasher::new();
    run_directory.hash(&mut hasher);
    let short = format!("teraslice-{}-{:016x}", getuid().as_raw(), hasher.finish());
    let short = env::temp_dir().join(short).join(&name);
    if short.as_os_str().as_bytes().len() + SPARE <= PATH_LEN_MAX {
        short
    } else {
        Path::new("/tmp").join(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_in_the_run_directory_where_that_is_short() {
        let path = path(Path::new("/var/lib/teraslice/run"), ExId::from_random([1; 16]));
        assert!(path.starts_with("/var/lib/teraslice/run"));
    }

    #[test]
    fn lies_elsewhere_where_the_run_directory_is_long_and_apart_for_each() {
        let long = |end: &str| PathBuf::from(format!("/{}/{end}", "x".repeat(120)));
        let (one, two) =
            (path(&long("a"), ExId::from_random([1; 16])), path(&long("b"), ExId::from_random([1; 16])));
        assert!(one.as_os_str().len() + SPARE <= PATH_LEN_MAX, "{}", one.display());
        assert_ne!(one, two);
        assert_eq!(one, path(&long("a"), ExId::from_random([1; 16])), "the same for everybody");
    }
}
