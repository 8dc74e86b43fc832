//! Cuts bytes into lines: each line belongs to the slice in which it begins.

use std::io::{self, Read};

use bytes::Bytes;
use memchr::memmem::Finder;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Bytes that are read behind the end of a slice to find the end of its last line, at first.
const TAIL: usize = 4 << 10;

/// Reads the lines of a slice, portion by portion.
///
/// ```text
///         offset         start                                end
/// ...ine\n|           \n|line\nline\nline\n ... \nlin|e\n
///         ^ d bytes before    ^ first line of the slice  ^ its last line goes on behind its end
/// ```
pub(super) struct Lines {
    source: Box<dyn Read + Send>,
    delimiter: Finder<'static>,
    line_bytes_max: usize,
    /// The place in the file of the next byte to hand out.
    at: u64,
    /// Lines that begin here or later belong to the next slice.
    end: u64,
    /// Read, but not handed out.
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Looks for the end of a line that belongs to the slice before.
    Skip,
    Read,
    /// Inside a line that is too long; where it began, and its length so far.
    TooLong {
        from: u64,
        bytes: u64,
    },
    Done,
}

/// Some whole lines, end to end, each with its delimiter except perhaps the last of the file.
#[derive(Debug, Default)]
pub(super) struct Portion {
    /// The lines.
    pub(super) bytes: Bytes,
    /// Where each line ends in `bytes`, delimiter included.
    pub(super) ends: Vec<usize>,
    /// The place of the first line in the file.
    pub(super) at: u64,
    /// A line that was too long to be read: where it began and how long it was.
    pub(super) too_long: Option<(u64, u64)>,
}

impl Lines {
    /// Reads the lines that begin from `offset` on and before `end`. With an offset, the first piece belongs to the slice before.
    pub(super) fn new(
        source: Box<dyn Read + Send>,
        delimiter: &str,
        line_bytes_max: usize,
        offset: u64,
        end: u64,
    ) -> Self {
        let state = if offset == 0 { State::Read } else { State::Skip };
        let delimiter = Finder::new(delimiter.as_bytes()).into_owned();
        Self { source, delimiter, line_bytes_max, at: offset, end, held: Vec::new(), state }
    }

    /// Returns the next lines; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Portion>> {
        while self.state != State::Done {
            let is_end = self.fill()?;
            if self.state == State::Skip && !self.skip(is_end) {
                continue;
            }
            if let State::TooLong { from, bytes } = self.state {
                if let Some(portion) = self.pass_over(from, bytes, is_end) {
                    return Ok(Some(portion));
                }
                continue;
            }
            let portion = self.cut(is_end);
            if is_end || self.at >= self.end {
                self.state = State::Done;
            }
            if !portion.ends.is_empty() {
                return Ok(Some(portion));
            }
            if self.held.len() > self.line_bytes_max && self.state != State::Done {
                self.state = State::TooLong { from: self.at, bytes: 0 };
            }
        }
        Ok(None)
    }

    /// Returns what ends a line.
    pub(super) fn delimiter(&self) -> &[u8] {
        self.delimiter.needle()
    }

    /// Reads a portion more; true at the end of the source.
    fn fill(&mut self) -> io::Result<bool> {
        let before = self.held.len();
        self.held.resize(before + self.chunk(), 0);
        let mut filled = before;
        let end = loop {
            match self.source.read(&mut self.held[filled..]) {
                Ok(0) => break Ok(true),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if filled == self.held.len() {
                break Ok(false);
            }
        };
        self.held.truncate(filled);
        end
    }

    /// Returns how much to read: no more than a slice needs, as many a slice is small.
    fn chunk(&self) -> usize {
        if matches!(self.state, State::TooLong { .. }) {
            return CHUNK;
        }
        let held = self.held.len();
        let room = self.end.saturating_sub(self.at).saturating_sub(held as u64);
        usize::try_from(room).unwrap_or(CHUNK).saturating_add(held.max(TAIL)).min(CHUNK)
    }

    /// Throws away up to the first delimiter; false while there is none.
    fn skip(&mut self, is_end: bool) -> bool {
        let width = self.delimiter.needle().len();
        if let Some(found) = self.delimiter.find(&self.held) {
            self.throw_away(found + width);
            self.state = if self.at < self.end { State::Read } else { State::Done };
            return self.state == State::Read;
        }
        // The delimiter may lie across two portions.
        let rest = self.held.len().min(width - 1);
        self.throw_away(self.held.len() - rest);
        if is_end || self.at >= self.end {
            self.state = State::Done;
        }
        false
    }

    /// Passes over the rest of a line that is too long; returns it once it ends.
    fn pass_over(&mut self, from: u64, bytes: u64, is_end: bool) -> Option<Portion> {
        let width = self.delimiter.needle().len();
        let found = self.delimiter.find(&self.held);
        let gone = match found {
            Some(found) => found + width,
            None if is_end => self.held.len(),
            None => self.held.len() - self.held.len().min(width - 1),
        };
        self.throw_away(gone);
        let bytes = bytes + gone as u64;
        if found.is_none() && !is_end {
            self.state = State::TooLong { from, bytes };
            return None;
        }
        let goes_on = found.is_some() && self.at < self.end;
        self.state = if goes_on { State::Read } else { State::Done };
        Some(Portion { at: from, too_long: Some((from, bytes)), ..Portion::default() })
    }

    /// Cuts what is held into whole lines, as far as they belong to the slice.
    fn cut(&mut self, is_end: bool) -> Portion {
        let width = self.delimiter.needle().len();
        let room = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let mut ends = Vec::new();
        let mut begin = 0;
        for found in self.delimiter.find_iter(&self.held) {
            if begin >= room {
                break;
            }
            begin = found + width;
            ends.push(begin);
        }
        if is_end && begin < self.held.len() && begin < room {
            begin = self.held.len();
            ends.push(begin);
        }
        let at = self.at;
        let rest = self.held.split_off(begin);
        let bytes = Bytes::from(std::mem::replace(&mut self.held, rest));
        self.at += begin as u64;
        Portion { bytes, ends, at, too_long: None }
    }

    fn throw_away(&mut self, bytes: usize) {
        drop(self.held.drain(..bytes));
        self.at += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_oneof, proptest};

    use super::*;

    fn lines(content: &[u8], delimiter: &str, offset: u64, end: u64, max: usize) -> Vec<String> {
        let source = Box::new(io::Cursor::new(content[usize::try_from(offset).unwrap()..].to_vec()));
        let mut lines = Lines::new(source, delimiter, max, offset, end);
        let mut all = Vec::new();
        while let Some(portion) = lines.next().unwrap() {
            let mut begin = 0;
            for end in portion.ends {
                let line = &portion.bytes[begin..end];
                let line = line.strip_suffix(delimiter.as_bytes()).unwrap_or(line);
                all.push(String::from_utf8_lossy(line).into_owned());
                begin = end;
            }
            if let Some((_, bytes)) = portion.too_long {
                all.push(format!("<{bytes}>"));
            }
        }
        all
    }

    /// Cuts content as the slicer does and reads every slice.
    fn sliced(content: &[u8], delimiter: &str, size: u64) -> Vec<String> {
        let (total, width) = (content.len() as u64, delimiter.len() as u64);
        let slice = |k: u64| {
            let offset = (k * size).saturating_sub(if k == 0 { 0 } else { width });
            lines(content, delimiter, offset, ((k + 1) * size).min(total), usize::MAX)
        };
        (0..total.div_ceil(size)).flat_map(slice).collect()
    }

    #[test]
    fn reads_each_line_in_the_slice_in_which_it_begins() {
        let content = b"1\n22\n333\n\n4444";
        assert_eq!(lines(content, "\n", 0, 4, 99), ["1", "22"]);
        assert_eq!(lines(content, "\n", 3, 8, 99), ["333"]);
        assert_eq!(lines(content, "\n", 7, 12, 99), ["", "4444"]);
        assert_eq!(lines(content, "\n", 11, 14, 99), [""; 0]);
    }

    #[test]
    fn passes_over_a_line_that_is_too_long() {
        let mut content = b"ok\n".to_vec();
        content.extend(vec![b'x'; 3 * CHUNK]);
        content.extend(b"\nafter\n");
        let long = format!("<{}>", 3 * CHUNK + 1);
        let end = content.len() as u64;
        assert_eq!(lines(&content, "\n", 0, end, 1_000), ["ok", &long, "after"]);
    }

    proptest! {
        #[test]
        fn reads_each_line_once_whatever_the_cuts(
            pieces in proptest::collection::vec("[a-zé漢 ]{0,30}", 0..40),
            delimiter in prop_oneof![Just("\n"), Just("\r\n"), Just("|;-")].boxed(),
            size in 4_u64..80,
            closed: bool,
        ) {
            let mut content = pieces.join(delimiter);
            if closed && !content.is_empty() {
                content.push_str(delimiter);
            }
            let mut expected: Vec<_> = content.split(delimiter).map(str::to_owned).collect();
            if expected.last().is_some_and(String::is_empty) {
                expected.pop();
            }
            assert_eq!(sliced(content.as_bytes(), delimiter, size), expected);
        }
    }
}
