//! Looks at the file of a backend before anything of it runs.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use crate::open_error::OpenError;

/// Bytes of a file that are hashed at once.
const PIECE_LEN: usize = 64 << 10;
/// Bytes of a header, which says what kind of file it is, for which machine, and where its parts are.
const HEADER_LEN: u64 = 64;
/// The type of shared libraries.
const SHARED_OBJECT: u16 = 3;
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

/// Checks that a file is a shared library for this machine, and the whole of one: the loader's own words are hard to
/// understand, and what is cut off ends the process that loads it.
pub(crate) fn check_library(path: &Path) -> Result<(), OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let file_len = file.metadata().map_err(unreadable)?.len();
    let mut header = Vec::new();
    file.by_ref().take(HEADER_LEN).read_to_end(&mut header).map_err(unreadable)?;
    let not_a_library = |what| Err(OpenError::NotALibrary { path: path.to_owned(), what });
    if !header.starts_with(b"\x7fELF") {
        return not_a_library("it is not an ELF file");
    }
    let elf = Elf(&header);
    let (Some(kind), Some(machine)) = (elf.half(16), elf.half(18)) else {
        return not_a_library("it is too short");
    };
    if kind != SHARED_OBJECT {
        return not_a_library("it is an ELF file of another type");
    }
    let found = MACHINES.iter().find(|(known, _)| *known == machine).map(|(_, name)| *name);
    if found != Some(std::env::consts::ARCH) {
        let found = found.map_or_else(|| format!("machine number {machine}"), str::to_owned);
        return Err(OpenError::Architecture { path: path.to_owned(), found });
    }
    let parts = elf.is_64_bit().then(|| (elf.long(32), elf.half(54), elf.half(56)));
    let Some((Some(start), Some(len), Some(count))) = parts else { return Ok(()) };
    let mut parts = vec![0; usize::from(len) * usize::from(count)];
    let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut parts));
    let is_whole = |part: &[u8]| {
        let part = Elf(part);
        let end = part.long(8).zip(part.long(32)).and_then(|(offset, len)| offset.checked_add(len));
        end.is_some_and(|end| end <= file_len)
    };
    if read.is_err() || len == 0 || !parts.chunks(usize::from(len)).all(is_whole) {
        return not_a_library("it is cut off");
    }
    Ok(())
}

/// Numbers in an ELF file.
struct Elf<'a>(&'a [u8]);

impl Elf<'_> {
    fn is_64_bit(&self) -> bool {
        self.0.get(4) == Some(&2)
    }

    /// Machines that run this program have the byte order of their files.
    fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.0.get(at..at + 2)?.try_into().ok()?))
    }

    fn long(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.0.get(at..at + 8)?.try_into().ok()?))
    }
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
