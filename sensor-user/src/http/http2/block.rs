//! Parts of header blocks of one direction come in; whole header blocks, decoded, go out (RFC 9113, 4.3).

use zeroize::{Zeroize, Zeroizing};

use crate::http::Config;
use crate::http::http2::frame::{self, Header, Kind};
use crate::http::http2::head::Fields;
use crate::http::http2::hpack::Decoder;
use crate::http::http2::metrics::Metrics;

/// A header block with what its frames said.
pub(super) struct HeaderBlock {
    pub(super) stream: u32,
    /// The stream that is going to answer, where the block is a promise (RFC 9113, 6.6).
    pub(super) promised: Option<u32>,
    pub(super) end_stream: bool,
    /// When its first byte passed.
    pub(super) at_ns: u64,
    pub(super) fields: Fields,
}

/// A header block whose end has not come.
struct Open {
    stream: u32,
    promised: Option<u32>,
    end_stream: bool,
    at_ns: u64,
    /// Longer than the bound.
    over: bool,
    /// Bytes of it are missing.
    spoilt: bool,
}

/// The header blocks of one direction.
pub(super) struct Block {
    hpack: Decoder,
    open: Option<Open>,
    /// What has come of the open one.
    bytes: Zeroizing<Vec<u8>>,
    head_bytes_max: usize,
    header_fields_max: usize,
    over: u64,
    broken: u64,
    unknown: u64,
}

impl Block {
    pub(super) fn new(config: &Config, joined: bool) -> Self {
        let mut hpack = Decoder::new(config.header_table_bytes_max);
        if joined {
            hpack.forget();
        }
        Self {
            hpack,
            open: None,
            bytes: Zeroizing::default(),
            head_bytes_max: config.head_bytes_max,
            header_fields_max: config.header_fields_max,
            over: 0,
            broken: 0,
            unknown: 0,
        }
    }

    /// Adds what was counted.
    pub(super) fn count(&self, metrics: &mut Metrics) {
        metrics.header_blocks_over = metrics.header_blocks_over.saturating_add(self.over);
        metrics.header_blocks_broken = metrics.header_blocks_broken.saturating_add(self.broken);
        metrics.header_fields_unknown = metrics.header_fields_unknown.saturating_add(self.unknown);
        metrics.header_table_cuts = metrics.header_table_cuts.saturating_add(self.hpack.cut());
    }

    /// The connection is seen from its start after all.
    pub(super) fn know(&mut self) {
        self.hpack.restart();
    }

    /// Notes settings of the other side.
    pub(super) fn offer(&mut self, table_bytes: Option<usize>) {
        self.hpack.offer(table_bytes);
    }

    /// Notes that settings of the other side may not have been seen.
    pub(super) fn doubt(&mut self) {
        self.hpack.doubt();
    }

    /// Notes that this side has acknowledged settings.
    pub(super) fn acknowledge(&mut self) {
        self.hpack.acknowledge();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// RFC 9113, 4.3: nothing may stand between the frames of a header block.
    pub(super) fn allows(&self, header: &Header) -> bool {
        let continues =
            |open: &Open| header.kind == Kind::Continuation && header.stream == open.stream;
        self.open.as_ref().is_none_or(continues)
    }

    pub(super) fn begin(&mut self, header: &Header, at_ns: u64) {
        self.open = Some(Open {
            stream: header.stream,
            promised: None,
            end_stream: header.kind == Kind::Headers && header.has(frame::END_STREAM),
            at_ns,
            over: false,
            spoilt: false,
        });
    }

    pub(super) fn promise(&mut self, stream: u32) {
        if let Some(open) = &mut self.open {
            open.promised = Some(stream & 0x7fff_ffff);
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else { return };
        if open.spoilt || open.over {
            return;
        }
        let room = self.head_bytes_max.saturating_sub(self.bytes.len());
        open.over = bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Bytes of a block are missing: what comes of it from here on is not read.
    pub(super) fn spoil(&mut self) {
        match &mut self.open {
            Some(open) => open.spoilt = true,
            // A block whose beginning was not seen may have changed the table.
            None => self.hpack.forget(),
        }
    }

    /// Header blocks may have been missed.
    pub(super) fn lose(&mut self) {
        self.open = None;
        self.bytes.zeroize();
        self.hpack.forget();
    }

    /// Decodes the block that has ended; of one that is not whole, what stands before its damage.
    pub(super) fn finish(&mut self) -> Option<HeaderBlock> {
        let Open { stream, promised, end_stream, at_ns, over, spoilt } = self.open.take()?;
        let mut fields = Fields::new(self.header_fields_max, self.head_bytes_max);
        let outcome = self.hpack.decode(&self.bytes, &mut |name, value| fields.add(name, value));
        self.bytes.zeroize();
        if over || spoilt {
            self.hpack.forget();
        }
        if over || spoilt || outcome.is_err() {
            fields.cut_short();
        }
        self.over = self.over.saturating_add(u64::from(over));
        self.broken = self.broken.saturating_add(u64::from(!over && (spoilt || outcome.is_err())));
        self.unknown = self.unknown.saturating_add(fields.unknown());
        Some(HeaderBlock { stream, promised, end_stream, at_ns, fields })
    }
}
