//! Drafts of entries: what the next append writes.

use std::collections::HashSet;

use teraslice_core::store::{Flush, Writer};
use teraslice_model::{dead_letter::DeadLetter, id::ExId, slice::SliceState, timestamp::Timestamp};
use uuid::Uuid;

use super::{Journal, Waiting, len_of, place};
use crate::elastic::entry::{Entry, FORMAT, Line};

/// A journal that goes back further is made shorter: what is still pending of its oldest entries is carried on.
const JOURNAL_LEN: u64 = 100;
/// Bytes of an entry, about; a larger append is written in parts.
const PART_BYTES: usize = 16 << 20;

/// Who writes an entry, and when.
#[derive(Clone, Copy, Debug)]
pub(in crate::elastic) struct Author {
    pub(in crate::elastic) ex_id: ExId,
    pub(in crate::elastic) writer: Writer,
    pub(in crate::elastic) store: Uuid,
    pub(in crate::elastic) append: u64,
    pub(in crate::elastic) at: Timestamp,
}

/// Which pending slices an entry repeats, so that earlier ones can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carry {
    /// Those that have stayed long while the journal went on.
    Old,
    /// All.
    All,
}

/// What an append adds.
#[derive(Clone, Copy, Debug)]
pub(in crate::elastic) enum Draft<'f> {
    /// A flush.
    Flush(&'f Flush),
    /// Nothing; see [`Entry`].
    Barrier,
    /// Nothing, so that all earlier entries can go.
    Rest,
}

impl Journal {
    /// Returns the entries of the next append, one or its parts.
    pub(in crate::elastic) fn draft(&self, author: Author, draft: Draft<'_>) -> Vec<Entry> {
        let empty = Flush { totals: self.totals.clone(), ..Flush::default() };
        let (flush, carry) = match draft {
            Draft::Flush(flush) => (flush, if self.is_torn { Carry::All } else { Carry::Old }),
            Draft::Barrier => (&empty, if self.last == 0 { Carry::All } else { Carry::Old }),
            Draft::Rest => (&empty, Carry::All),
        };
        let (carried, mut since) = self.carried(flush, carry);
        let own = flush.slices.iter().map(|record| {
            let slice = &record.slice;
            let known = self.pending.get(&(slice.slicer_id, slice.slicer_order));
            Line { record: record.clone(), home: known.and_then(|known| known.kept.line.home.clone()) }
        });
        let chunks = chunks(carried.into_iter().chain(own), &flush.dead_letters);
        if chunks.len() > 1 && self.last_whole > 0 {
            // Without its last part the append counts as nothing: what was before has to stay.
            since = since.min(self.last_whole);
        }
        let mut checkpoints = self.checkpoints.clone();
        checkpoints.extend(flush.checkpoints.iter().map(|it| (it.slicer_id, it.clone())));
        let mut orders = self.orders.clone();
        let mut first_letter = self.next_letter;
        let count = chunks.len() as u64;
        let entry = |(at, (slices, dead_letters)): (u64, Chunk)| {
            let entry = Entry {
                format: FORMAT,
                ex_id: author.ex_id,
                seq: self.last + 1 + at,
                writer: author.writer,
                store: author.store,
                append: author.append,
                at: author.at,
                since,
                is_barrier: matches!(draft, Draft::Barrier) && at == 0,
                has_outcomes: !dead_letters.is_empty()
                    || slices.iter().any(|line| line.record.state != SliceState::Pending),
                has_more: at + 1 < count,
                checkpoints: checkpoints.values().cloned().collect(),
                totals: flush.totals.clone(),
                orders: orders.iter().map(|(slicer_id, order)| (*slicer_id, *order)).collect(),
                first_letter,
                slices,
                dead_letters,
            };
            for (slicer_id, order) in entry.slices.iter().map(place) {
                let highest = orders.entry(slicer_id).or_default();
                *highest = order.max(*highest);
            }
            first_letter += entry.dead_letters.len() as u64;
            entry
        };
        (0..).zip(chunks).map(entry).collect()
    }

    /// Returns the pending slices that the next entry repeats, and the first entry that counts once it is there.
    fn carried(&self, flush: &Flush, carry: Carry) -> (Vec<Line>, u64) {
        let next = self.last + 1;
        let oldest = self.live.first_key_value().map_or(next, |(seq, _)| *seq);
        let limit = match carry {
            Carry::All => next,
            Carry::Old if next - oldest > JOURNAL_LEN => next - JOURNAL_LEN / 2,
            Carry::Old => return (Vec::new(), oldest),
        };
        let own: HashSet<_> =
            flush.slices.iter().map(|record| (record.slice.slicer_id, record.slice.slicer_order)).collect();
        let others = self.pending.iter().filter(|(place, _)| !own.contains(*place));
        let (old, young): (Vec<_>, Vec<_>) =
            others.map(|(_, waiting)| waiting).partition(|waiting: &&Waiting| waiting.kept.seq < limit);
        let stays = young.iter().map(|waiting| waiting.kept.seq);
        let stays = stays.chain(self.finished.values().map(|kept| kept.seq));
        let stays = stays.chain(self.letters.values().map(|letter| letter.seq));
        let since = stays.chain(self.stale.values().map(|stale| stale.seq)).min().unwrap_or(next);
        (old.into_iter().map(|waiting| waiting.kept.line.clone()).collect(), since)
    }
}

type Chunk = (Vec<Line>, Vec<DeadLetter>);

/// Distributes slices, then dead letters, so that each chunk is small enough for a document. There is at least one.
fn chunks(lines: impl Iterator<Item = Line>, letters: &[DeadLetter]) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut chunk = Chunk::default();
    let mut bytes = 0;
    let mut grow = |chunk: &mut Chunk, more: usize| {
        if bytes > 0 && bytes + more > PART_BYTES {
            chunks.push(std::mem::take(chunk));
            bytes = 0;
        }
        bytes += more;
    };
    for line in lines {
        grow(&mut chunk, line.len());
        chunk.0.push(line);
    }
    for letter in letters {
        grow(&mut chunk, len_of(letter));
        chunk.1.push(letter.clone());
    }
    chunks.push(chunk);
    chunks
}
