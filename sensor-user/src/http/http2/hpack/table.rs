//! Fields that were sent come in; the fields that indices stand for go out (RFC 7541, 2.3).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::http::http2::hpack::static_table;
use crate::redact::Redacted;

/// RFC 7541, 4.1: what an entry costs besides its octets.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// A field of the dynamic table.
struct Entry {
    /// `None` where the name was an index to something that was not seen.
    name: Option<Bytes>,
    value: Redacted,
}

impl Entry {
    fn size(&self) -> usize {
        let name = self.name.as_ref().map_or(0, Bytes::len);
        name.saturating_add(self.value.len()).saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}

/// What stands at an index.
pub(super) enum Found<'a> {
    /// A field; its name may be unknown all the same.
    Field(Option<Bytes>, &'a [u8]),
    /// Something that the encoder has and that was not seen, or not kept.
    Unseen,
    /// Nothing: the table is known as a whole and ends before.
    Nothing,
}

/// The dynamic table of one direction, as far as it is known.
///
/// An index counts from the newest entry. So entries that were seen stay right whatever came before them, and
/// evicting later than the encoder does no harm: it never names an entry that it has evicted.
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Size the encoder has, in bytes as RFC 7541, 4.1 counts them; where it is not known, `bytes_max`.
    size: usize,
    bytes_max: usize,
    /// Whether the encoder has no entry that is not here.
    whole: bool,
    /// Entries that were let go although the encoder still has them.
    cut: u64,
}

impl Table {
    /// Makes an empty table of `size` bytes of which never more than `bytes_max` are kept.
    pub(super) fn new(size: usize, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, size, bytes_max, whole: true, cut: 0 }
    }

    /// Entries let go because of the bound.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Bytes held, as RFC 7541, 4.1 counts them.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Size at which the encoder evicts, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Forgets everything: from here on entries are unseen until they are inserted.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        self.size = self.bytes_max;
        self.whole = false;
    }

    /// Begins anew with an empty table of `size` bytes.
    pub(super) fn restart(&mut self, size: usize) {
        self.resize(0);
        self.size = size;
    }

    /// Changes the size (RFC 7541, 4.3).
    pub(super) fn resize(&mut self, size: usize) {
        self.size = size;
        if size == 0 {
            self.whole = true;
        }
        self.evict(0);
    }

    /// Inserts a field as the newest (RFC 7541, 4.4).
    pub(super) fn insert(&mut self, name: Option<Bytes>, value: &[u8]) {
        // Judged before the copy is made: a value may be longer than the table.
        let length = name.as_ref().map_or(0, Bytes::len).saturating_add(value.len());
        let size = length.saturating_add(ENTRY_OVERHEAD_BYTES);
        self.evict(size);
        if size > self.size.min(self.bytes_max) {
            if size <= self.size {
                self.whole = false;
                self.cut = self.cut.saturating_add(1);
            }
            return;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.entries.push_front(Entry { name, value: Redacted::new(value) });
    }

    /// Looks up an index (RFC 7541, 2.3.3).
    pub(super) fn get(&self, index: usize) -> Found<'_> {
        if let Some((name, value)) = static_table::get(index) {
            return Found::Field(Some(Bytes::from_static(name.as_bytes())), value.as_bytes());
        }
        let Some(position) = index.checked_sub(static_table::LENGTH.saturating_add(1)) else {
            return Found::Nothing;
        };
        match self.entries.get(position) {
            Some(entry) => Found::Field(entry.name.clone(), entry.value.expose()),
            None if self.whole => Found::Nothing,
            None => Found::Unseen,
        }
    }

    /// Evicts the oldest until `room` more bytes fit, or none is left.
    fn evict(&mut self, room: usize) {
        let limit = self.size.min(self.bytes_max).saturating_sub(room);
        while self.bytes > limit {
            let Some(oldest) = self.entries.pop_back() else { break };
            if self.bytes <= self.size.saturating_sub(room) {
                self.whole = false;
                self.cut = self.cut.saturating_add(1);
            }
            self.bytes = self.bytes.saturating_sub(oldest.size());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &mut Table, name: &'static str, value: &[u8]) {
        table.insert(Some(Bytes::from_static(name.as_bytes())), value);
    }

    fn value(table: &Table, index: usize) -> Option<Vec<u8>> {
        match table.get(index) {
            Found::Field(_, value) => Some(value.to_vec()),
            Found::Unseen | Found::Nothing => None,
        }
    }

    #[test]
    fn newest_entry_has_the_lowest_index() {
        let mut table = Table::new(4096, 4096);
        insert(&mut table, "a", b"1");
        insert(&mut table, "b", b"2");
        assert_eq!(
            (value(&table, 62), value(&table, 63)),
            (Some(b"2".to_vec()), Some(b"1".to_vec()))
        );
        assert!(matches!(table.get(64), Found::Nothing));
        assert!(matches!(table.get(0), Found::Nothing));
    }

    #[test]
    fn entry_larger_than_the_table_empties_it() {
        let mut table = Table::new(64, 4096);
        insert(&mut table, "a", b"1");
        insert(&mut table, "b", &[b'2'; 40]);
        assert_eq!(table.bytes(), 0);
        assert!(matches!(table.get(62), Found::Nothing));
    }

    #[test]
    fn bound_cuts_old_entries_and_counts_them() {
        let mut table = Table::new(4096, 70);
        for value in [b"1", b"2", b"3"] {
            insert(&mut table, "a", value);
        }
        assert_eq!(
            (value(&table, 62), value(&table, 63)),
            (Some(b"3".to_vec()), Some(b"2".to_vec()))
        );
        assert!(matches!(table.get(64), Found::Unseen));
        assert_eq!(table.cut(), 1);
    }

    #[test]
    fn forgotten_table_keeps_what_comes_after() {
        let mut table = Table::new(4096, 4096);
        insert(&mut table, "a", b"1");
        table.forget();
        insert(&mut table, "b", b"2");
        assert_eq!(value(&table, 62), Some(b"2".to_vec()));
        assert!(matches!(table.get(63), Found::Unseen));
        table.resize(0);
        assert!(matches!(table.get(62), Found::Nothing));
    }
}
