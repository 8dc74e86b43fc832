//! The body of a bulk request, cut into items.

use std::ops::Range;

use bytes::Bytes;

/// Items as JSON lines, end to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub(super) lines: Vec<u8>,
    items: Vec<Item>,
}

/// Where an item begins, and the record it comes from.
#[derive(Clone, Copy, Debug)]
struct Item {
    begin: usize,
    record: u32,
}

/// A body that is complete. Parts of it share its memory.
#[derive(Clone, Debug)]
pub(super) struct Portion {
    lines: Bytes,
    items: Vec<Item>,
}

impl Body {
    /// Returns how many items there are.
    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.lines.len()
    }

    /// Notes that an item of the record was written from `begin` on.
    pub(super) fn end_item(&mut self, begin: usize, record: u32) {
        self.items.push(Item { begin, record });
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Portion {
        // The next body will be about as large.
        let room =
            Self { lines: Vec::with_capacity(self.lines.len()), items: Vec::with_capacity(self.items.len()) };
        let Self { lines, items } = std::mem::replace(self, room);
        Portion { lines: lines.into(), items }
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.items.clear();
    }
}

impl Portion {
    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn lines(&self) -> Bytes {
        self.lines.clone()
    }

    /// Returns the record that item `at` comes from.
    pub(super) fn record(&self, at: usize) -> u32 {
        self.items[at].record
    }

    /// Returns the lines of item `at`.
    pub(super) fn item(&self, at: usize) -> &[u8] {
        &self.lines[self.span(at)]
    }

    /// Makes a portion of some of the items, in their order.
    pub(super) fn only(&self, items: &[usize]) -> Self {
        let mut body = Body::default();
        for &at in items {
            let begin = body.lines.len();
            body.lines.extend_from_slice(self.item(at));
            body.end_item(begin, self.record(at));
        }
        body.take()
    }

    /// Cuts the portion in two; both have items if this has two.
    pub(super) fn halves(&self) -> [Self; 2] {
        let middle = self.len().div_ceil(2);
        let part = |items: Range<usize>| {
            let base = self.items.get(items.start).map_or(self.lines.len(), |item| item.begin);
            let end = self.items.get(items.end).map_or(self.lines.len(), |item| item.begin);
            let moved = self.items[items].iter().map(|item| Item { begin: item.begin - base, ..*item });
            Self { lines: self.lines.slice(base..end), items: moved.collect() }
        };
        [part(0..middle), part(middle..self.len())]
    }

    fn span(&self, at: usize) -> Range<usize> {
        let end = self.items.get(at + 1).map_or(self.lines.len(), |next| next.begin);
        self.items[at].begin..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portion(items: &[&str]) -> Portion {
        let mut body = Body::default();
        for (record, item) in (0..).zip(items) {
            let begin = body.lines.len();
            body.lines.extend_from_slice(item.as_bytes());
            body.end_item(begin, record);
        }
        body.take()
    }

    #[test]
    fn takes_items_apart() {
        let whole = portion(&["a\n", "bb\n", "c\n"]);
        let some = whole.only(&[1, 2]);
        assert_eq!((some.lines(), some.record(0), some.record(1)), (Bytes::from("bb\nc\n"), 1, 2));
        let [first, second] = whole.halves();
        assert_eq!((first.lines(), first.len()), (Bytes::from("a\nbb\n"), 2));
        assert_eq!((second.lines(), second.item(0), second.record(0)), (Bytes::from("c\n"), &b"c\n"[..], 2));
        assert_eq!(portion(&["a\n"]).halves().map(|half| half.len()), [1, 0]);
    }
}
