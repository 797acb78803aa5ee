//! Fields and payloads come in; the octets of a lawful peer go out, its choices made by a seeded generator.

use crate::http::http2::hpack::huffman;

/// A small generator (xorshift); the same seed gives the same choices.
pub(in crate::http::http2) struct Random(pub(in crate::http::http2) u64);

impl Random {
    pub(in crate::http::http2) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(in crate::http::http2) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(in crate::http::http2) fn octets(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.next() >> 56).unwrap()).collect()
    }

    /// Some header fields out of a small set of names, so that tables have something to say.
    pub(in crate::http::http2) fn fields(&mut self, most: u64) -> Vec<(String, String)> {
        const NAMES: &[&str] =
            &["content-type", "authorization", "x-a", "x-b", "user-agent", "cookie"];
        let count = 1 + self.below(most);
        (0..count)
            .map(|_| {
                let name = NAMES[usize::try_from(self.below(6)).unwrap()];
                let long = if self.below(8) == 0 { 400 } else { 0 };
                (name.to_owned(), format!("{}-{:long$}", self.below(12), self.below(3)))
            })
            .collect()
    }
}

/// HPACK encoder with a dynamic table of its own (RFC 7541, 2.3.2 and 4).
pub(in crate::http::http2) struct Encoder {
    table: Vec<(String, String)>,
    size: usize,
    limit: usize,
}

impl Encoder {
    pub(in crate::http::http2) fn new(limit: usize) -> Self {
        Self { table: Vec::new(), size: 4096, limit }
    }

    /// Fields as a mix of every representation, with a change of the table's size now and then.
    pub(in crate::http::http2) fn block(
        &mut self,
        fields: &[(String, String)],
        random: &mut Random,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        if random.below(15) == 0 {
            let size = usize::try_from(random.below(3)).unwrap() * self.limit / 2;
            out.extend(self.resize(size));
        }
        for (name, value) in fields {
            self.field((name, value), random.below(4), random.below(2) == 0, &mut out);
        }
        out
    }

    pub(in crate::http::http2) fn resize(&mut self, size: usize) -> Vec<u8> {
        self.size = size;
        self.evict(0);
        let mut out = Vec::new();
        integer(size, 5, 0x20, &mut out);
        out
    }

    /// One field: by index where it is in the table, else as a literal of the kind asked for (2 and 3: inserted).
    pub(in crate::http::http2) fn field(
        &mut self,
        (name, value): (&str, &str),
        kind: u64,
        coded: bool,
        out: &mut Vec<u8>,
    ) {
        let position = |found: Option<usize>| found.map(|found| found + 62);
        if let Some(index) =
            position(self.table.iter().position(|entry| entry.0 == name && entry.1 == value))
        {
            return integer(index, 7, 0x80, out);
        }
        let index = position(self.table.iter().position(|entry| entry.0 == name));
        let (prefix_bits, pattern) =
            [(4, 0x00), (4, 0x10), (6, 0x40), (6, 0x40)][usize::try_from(kind).unwrap()];
        integer(index.unwrap_or(0), prefix_bits, pattern, out);
        if index.is_none() {
            string(name, coded, out);
        }
        string(value, coded, out);
        if prefix_bits == 6 {
            let size = name.len() + value.len() + 32;
            self.evict(size);
            if size <= self.size {
                self.table.insert(0, (name.to_owned(), value.to_owned()));
            }
        }
    }

    fn evict(&mut self, room: usize) {
        let size = |entry: &(String, String)| entry.0.len() + entry.1.len() + 32;
        while self.table.iter().map(size).sum::<usize>() + room > self.size {
            if self.table.pop().is_none() {
                break;
            }
        }
    }
}

/// RFC 7541, 5.1.
fn integer(value: usize, prefix_bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let full = (1 << prefix_bits) - 1;
    if value < full {
        return out.push(pattern | u8::try_from(value).unwrap());
    }
    out.push(pattern | u8::try_from(full).unwrap());
    let mut rest = value - full;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// RFC 7541, 5.2.
fn string(text: &str, coded: bool, out: &mut Vec<u8>) {
    let mut octets = Vec::new();
    if coded {
        huffman::encode(text.as_bytes(), &mut octets);
    } else {
        octets.extend_from_slice(text.as_bytes());
    }
    integer(octets.len(), 7, if coded { 0x80 } else { 0 }, out);
    out.extend(octets);
}

/// A frame (RFC 9113, 4.1).
pub(in crate::http::http2) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}
