//! The check of a zip that comes from outside: nothing in it is believed before it was seen.

use std::{
    collections::HashSet,
    io::{self, Read, Seek, SeekFrom},
};

use zip::ZipArchive;

use super::BundleError;

/// Entries at the most.
pub(super) const ENTRIES_MAX: u64 = 10_000;
/// Bytes of an entry's name at the most.
const NAME_MAX: usize = 1_024;
/// How every zip begins that holds anything.
const SIGNATURE: [u8; 4] = *b"PK\x03\x04";
/// How the record at the end of a zip begins, and how long it is without its comment.
const END: [u8; 4] = *b"PK\x05\x06";
const END_LEN: usize = 22;
/// What lies before that record in a zip of the large form, and how long it is.
const LARGE: [u8; 4] = *b"PK\x06\x07";
const LARGE_LEN: usize = 20;
/// Bytes of the comment at the end of a zip at the most.
const COMMENT_MAX: u64 = 65_535;
/// Bytes of an entry's head in the directory, without its name.
const HEAD_LEN: usize = 46;

/// Opens a zip whose directory is not too large to be read.
pub(super) fn open<R: Read + Seek>(mut zip: R) -> Result<ZipArchive<R>, BundleError> {
    check_ends(&mut zip)?;
    ZipArchive::new(zip).map_err(BundleError::Zip)
}

/// Looks at every entry, and unpacks each once to see that it is what it says; keeps none of it.
pub(super) fn check<R: Read + Seek>(zip: &mut R, unpacked_max: u64) -> Result<(), BundleError> {
    let mut archive = open(&mut *zip)?;
    if archive.has_duplicate_names() {
        let start = archive.central_directory_start();
        drop(archive);
        let name = duplicate(zip, start).unwrap_or_else(|_| "an entry".to_owned());
        return Err(entry(&name, "is there more than once"));
    }
    archive.validate_header_consistency().map_err(BundleError::Contradiction)?;
    let mut unpacked = 0_u64;
    for place in 0..archive.len() {
        let file = archive.by_index_raw(place).map_err(BundleError::Contradiction)?;
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        check_name(&name)?;
        if file.unix_mode().is_some_and(is_special) {
            return Err(entry(&name, "is a link or a device: a bundle holds files and folders only"));
        }
        unpacked = unpacked.saturating_add(file.size());
        if unpacked > unpacked_max {
            return Err(entry(&name, &format!("makes the bundle larger than {unpacked_max} bytes unpacked")));
        }
    }
    (0..archive.len()).try_for_each(|place| check_content(&mut archive, place))
}

/// Refuses what is no zip, and directories that would take too much memory, before they are read.
fn check_ends<R: Read + Seek>(zip: &mut R) -> Result<(), BundleError> {
    let broken = |source: io::Error| BundleError::Damaged { name: "the zip".to_owned(), source };
    zip.rewind().map_err(broken)?;
    let mut head = Vec::new();
    zip.take(SIGNATURE.len() as u64).read_to_end(&mut head).map_err(broken)?;
    if head != SIGNATURE {
        return Err(BundleError::Signature);
    }
    let len = zip.seek(SeekFrom::End(0)).map_err(broken)?;
    let most = COMMENT_MAX + (END_LEN + LARGE_LEN) as u64;
    zip.seek(SeekFrom::Start(len.saturating_sub(most))).map_err(broken)?;
    let mut tail = Vec::new();
    zip.take(most).read_to_end(&mut tail).map_err(broken)?;
    zip.rewind().map_err(broken)?;
    let ends = tail.windows(END_LEN).enumerate().filter(|(_, window)| window.starts_with(&END));
    let mut is_whole = false;
    // A reader may take any of them for the true one.
    for (at, end) in ends {
        is_whole = true;
        let counts = [u16::from_le_bytes([end[8], end[9]]), u16::from_le_bytes([end[10], end[11]])];
        let is_large = at >= LARGE_LEN && tail[at - LARGE_LEN..].starts_with(&LARGE);
        if is_large || counts.iter().any(|count| u64::from(*count) > ENTRIES_MAX) {
            return Err(BundleError::Entries);
        }
    }
    if is_whole { Ok(()) } else { Err(BundleError::Cut) }
}

fn check_name(name: &str) -> Result<(), BundleError> {
    let is_outside = name.starts_with('/') || name.split(['/', '\\']).any(|step| step == "..");
    let has_drive = name.as_bytes().get(1) == Some(&b':');
    if is_outside || has_drive || name.starts_with('\\') {
        return Err(entry(name, "leads out of the bundle"));
    }
    if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
        return Err(entry(name, "has no name that a file could have"));
    }
    Ok(())
}

/// Tells links, devices, pipes and sockets by the type in their mode; many writers leave the type out.
fn is_special(mode: u32) -> bool {
    !matches!(mode & 0o170_000, 0 | 0o040_000 | 0o100_000)
}

fn check_content<R: Read + Seek>(archive: &mut ZipArchive<R>, place: usize) -> Result<(), BundleError> {
    let raw = archive.by_index_raw(place).map_err(BundleError::Contradiction)?;
    let name = String::from_utf8_lossy(raw.name_raw()).into_owned();
    let size = raw.size();
    drop(raw);
    let damaged = |source| BundleError::Damaged { name: name.clone(), source };
    let file = archive.by_index(place).map_err(|error| damaged(io::Error::other(error)))?;
    let read = io::copy(&mut file.take(size.saturating_add(1)), &mut io::sink()).map_err(damaged)?;
    if read == size {
        return Ok(());
    }
    Err(entry(&name, &format!("says that it has {size} bytes, and has more or fewer")))
}

/// Returns the first name that comes twice in the directory: the reader of zips gives only the last of each name.
fn duplicate<R: Read + Seek>(zip: &mut R, directory: u64) -> io::Result<String> {
    let mut seen = HashSet::new();
    zip.seek(SeekFrom::Start(directory))?;
    loop {
        let mut head = [0; HEAD_LEN];
        zip.read_exact(&mut head)?;
        let len = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let mut name = vec![0; len(28)];
        zip.read_exact(&mut name)?;
        if !seen.insert(name.clone()) {
            return Ok(String::from_utf8_lossy(&name).into_owned());
        }
        zip.seek_relative((len(30) + len(32)) as i64)?;
    }
}

fn entry(name: &str, reason: &str) -> BundleError {
    BundleError::Entry { name: name.chars().take(200).collect(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
