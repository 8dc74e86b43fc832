//! Opens a part of a file, decompressed.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use crate::file_format::Compression;

/// Reads from `offset` on; compressed files from their beginning.
pub(super) fn open(path: &Path, offset: u64, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    Ok(match compression {
        Compression::None => {
            file.seek(SeekFrom::Start(offset))?;
            Box::new(file)
        }
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
        Compression::Lz4 => {
            check_lz4_end(&mut file)?;
            Box::new(lz4_flex::frame::FrameDecoder::new(file))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}

/// Checks that an LZ4 file ends as its format says: the decoder takes a file that is cut off between blocks for a whole one.
///
/// The LZ4 frame format: byte 4 holds the flags; a frame ends in four zero bytes, with flag 2 followed by a checksum.
fn check_lz4_end(file: &mut File) -> io::Result<()> {
    let mut header = [0; 5];
    file.read_exact(&mut header)?;
    let checksum: i64 = if header[4] & 0b100 == 0 { 0 } else { 4 };
    let mut end = [0; 4];
    file.seek(SeekFrom::End(-4 - checksum))?;
    file.read_exact(&mut end)?;
    file.seek(SeekFrom::Start(0))?;
    if end != [0; 4] {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no end mark"));
    }
    Ok(())
}
