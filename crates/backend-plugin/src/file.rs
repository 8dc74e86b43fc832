//! Looks at the file of a backend before anything of it runs.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use crate::open_error::OpenError;

/// Bytes of a file that are hashed at once.
const PIECE_LEN: usize = 64 << 10;
/// Bytes of a header that say what kind of file it is and for which machine.
const HEADER_LEN: usize = 20;
/// Members of the group, and all others, may write.
const WRITABLE: u32 = 0o022;
/// In such a folder only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// The numbers that ELF files have for machines.
const MACHINES: [(u16, &str); 6] =
    [(3, "x86"), (40, "arm"), (62, "x86_64"), (183, "aarch64"), (243, "riscv64"), (21, "powerpc64")];

/// Checks that nobody but root and this user can have put the file there, and that it is the pinned one.
pub(crate) fn check(path: &Path, sha256: Option<&str>) -> Result<(), OpenError> {
    if !path.is_absolute() {
        return Err(OpenError::Relative { path: path.to_owned() });
    }
    let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
    let real = fs::canonicalize(path).map_err(unreadable)?;
    for of in [real.parent().unwrap_or(&real), &real] {
        let metadata = fs::metadata(of).map_err(unreadable)?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(OpenError::Owner { path: of.to_owned(), owner });
        }
        let is_sticky = metadata.is_dir() && mode & STICKY != 0;
        if mode & WRITABLE != 0 && !is_sticky {
            return Err(OpenError::Writable { path: of.to_owned(), mode: mode & 0o7777 });
        }
    }
    let Some(expected) = sha256 else { return Ok(()) };
    let found = hash(&real).map_err(unreadable)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(OpenError::Digest { path: path.to_owned(), found, expected: expected.to_owned() })
}

/// Checks that a file is a shared library for this machine: the loader's own words are hard to understand.
pub(crate) fn check_library(path: &Path) -> Result<(), OpenError> {
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEADER_LEN as u64).read_to_end(&mut header))
        .map_err(|source| OpenError::Unreadable { path: path.to_owned(), source })?;
    let not_a_library = |what| Err(OpenError::NotALibrary { path: path.to_owned(), what });
    if header.len() < HEADER_LEN {
        return not_a_library("it is too short");
    }
    if !header.starts_with(b"\x7fELF") {
        return not_a_library("it is not an ELF file");
    }
    let number = |at: usize| match header[5] {
        2 => u16::from_be_bytes([header[at], header[at + 1]]),
        _ => u16::from_le_bytes([header[at], header[at + 1]]),
    };
    if number(16) != 3 {
        return not_a_library("it is an ELF file of another type");
    }
    let machine = number(18);
    let found = MACHINES.iter().find(|(known, _)| *known == machine).map(|(_, name)| *name);
    if found == Some(std::env::consts::ARCH) {
        return Ok(());
    }
    let found = found.map_or_else(|| format!("machine number {machine}"), str::to_owned);
    Err(OpenError::Architecture { path: path.to_owned(), found })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_LEN]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            len => hash.update(&piece[..len]),
        }
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}
