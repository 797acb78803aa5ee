//! Nine octets come in; the frame header they are, and whether it can be one, go out (RFC 9113, 4.1 and 6).

/// Octets of a frame header.
pub(super) const HEADER_BYTES: usize = 9;
/// RFC 9113, 6.5.2: longest payload before the peer's settings allow more, in bytes.
pub(super) const PAYLOAD_BYTES_INITIAL: u32 = 16_384;
/// Longest payload followed without a setting that allows it, in bytes: the setting may have been missed, and the
/// Go servers allow this much. Nothing of that length is ever held.
pub(super) const PAYLOAD_BYTES_UNANNOUNCED_MAX: u32 = 1 << 20;
/// Longest `SETTINGS` payload that counts as likely, in bytes: 16 settings; there are fewer in use.
const SETTINGS_BYTES_LIKELY_MAX: u32 = 96;

/// RFC 9113, 6.1 and 6.2: the last frame of a message.
pub(super) const END_STREAM: u8 = 0x1;
/// RFC 9113, 6.5 and 6.7: the answer to a frame of the same type.
pub(super) const ACK: u8 = 0x1;
/// RFC 9113, 6.2, 6.6 and 6.10: the last frame of a header block.
pub(super) const END_HEADERS: u8 = 0x4;
/// RFC 9113, 6.1, 6.2 and 6.6: the payload begins with a length of padding.
pub(super) const PADDED: u8 = 0x8;
/// RFC 9113, 6.2: the payload names a priority.
pub(super) const PRIORITY: u8 = 0x20;

/// Type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// RFC 9113, 5.5: an extension; its payload means nothing here.
    Extension,
}

impl Kind {
    fn new(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Extension,
        }
    }

    /// The flags that have a meaning.
    fn flags(self) -> u8 {
        match self {
            Self::Data => END_STREAM | PADDED,
            Self::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Self::Settings | Self::Ping => ACK,
            Self::PushPromise => END_HEADERS | PADDED,
            Self::Continuation => END_HEADERS,
            Self::Priority
            | Self::ResetStream
            | Self::GoAway
            | Self::WindowUpdate
            | Self::Extension => 0,
        }
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the payload in bytes.
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// RFC 9113, 4.1: a bit that is never set.
    reserved: bool,
}

impl Header {
    pub(super) fn new(octets: [u8; HEADER_BYTES]) -> Self {
        let [high, middle, low, code, flags, stream @ ..] = octets;
        let stream = u32::from_be_bytes(stream);
        Self {
            length: u32::from_be_bytes([0, high, middle, low]),
            kind: Kind::new(code),
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 != 0,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a peer would accept it, when payloads of `announced` bytes are allowed.
    pub(super) fn is_legal(&self, announced: u32) -> bool {
        let length_fits = match self.kind {
            Kind::Priority => self.length == 5,
            Kind::ResetStream | Kind::WindowUpdate => self.length == 4,
            Kind::Settings if self.has(ACK) => self.length == 0,
            Kind::Settings => self.length.is_multiple_of(6),
            Kind::Ping => self.length == 8,
            Kind::GoAway => self.length >= 8,
            Kind::Data | Kind::Headers | Kind::PushPromise => self.length >= self.prefix_bytes(),
            Kind::Continuation | Kind::Extension => true,
        };
        let stream_fits = match self.kind {
            Kind::Settings | Kind::Ping | Kind::GoAway => self.stream == 0,
            Kind::WindowUpdate | Kind::Extension => true,
            _ => self.stream != 0,
        };
        length_fits && stream_fits && self.length <= announced.max(PAYLOAD_BYTES_UNANNOUNCED_MAX)
    }

    /// Whether arbitrary bytes would hardly look like this: one header in about 2^26 of random ones does.
    pub(super) fn is_likely(&self, announced: u32) -> bool {
        let length_max = match self.kind {
            Kind::Extension => return false,
            Kind::Settings => SETTINGS_BYTES_LIKELY_MAX,
            _ => announced,
        };
        // RFC 9113, 5.1.1: clients open odd streams; even ones, opened by a push, are hardly ever met.
        let stream_fits = self.stream == 0 || self.stream % 2 == 1;
        let flags_fit = self.flags & !self.kind.flags() == 0;
        self.is_legal(announced)
            && self.length <= length_max
            && stream_fits
            && flags_fit
            && !self.reserved
    }

    /// Octets at the start of the payload that say what the rest is: length of padding, priority, promised stream.
    pub(super) fn prefix_bytes(&self) -> u32 {
        let padding = u32::from(self.has(PADDED));
        match self.kind {
            Kind::Headers if self.has(PRIORITY) => padding.saturating_add(5),
            Kind::Data | Kind::Headers => padding,
            Kind::PushPromise => padding.saturating_add(4),
            // The last stream identifier, which is all that is read of it.
            Kind::GoAway => 4,
            _ => 0,
        }
    }

    /// Whether the payload begins with a length of padding.
    pub(super) fn is_padded(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise) && self.has(PADDED)
    }

    /// Whether the frame carries a part of a header block.
    pub(super) fn is_header_block(&self) -> bool {
        matches!(self.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets, whether legal, whether likely.
    const CASES: &[([u8; HEADER_BYTES], bool, bool)] = &[
        ([0, 0, 10, 0, 1, 0, 0, 0, 1], true, true),
        ([0, 0, 18, 4, 0, 0, 0, 0, 0], true, true),
        ([0, 0, 0, 4, 1, 0, 0, 0, 0], true, true),
        ([0, 0, 6, 4, 1, 0, 0, 0, 0], false, false),
        ([0, 0, 7, 4, 0, 0, 0, 0, 0], false, false),
        ([0, 0, 10, 0, 1, 0, 0, 0, 0], false, false),
        ([0, 0, 10, 0, 1, 0, 0, 0, 2], true, false),
        ([0, 0, 10, 0, 0x40, 0, 0, 0, 1], true, false),
        ([0, 0, 10, 0, 0, 0x80, 0, 0, 1], true, false),
        ([0, 0, 10, 0xfe, 0, 0, 0, 0, 1], true, false),
        ([0, 0x40, 1, 0, 0, 0, 0, 0, 1], true, false),
        ([0x10, 0, 1, 0, 0, 0, 0, 0, 1], false, false),
        ([0, 0, 4, 1, 0x2c, 0, 0, 0, 1], false, false),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], false, false),
        (*b"{\"model\":", false, false),
    ];

    #[test]
    fn headers_are_judged_by_what_their_type_allows() {
        for (octets, legal, likely) in CASES {
            let header = Header::new(*octets);
            assert_eq!(header.is_legal(PAYLOAD_BYTES_INITIAL), *legal, "{octets:02x?}");
            assert_eq!(header.is_likely(PAYLOAD_BYTES_INITIAL), *likely, "{octets:02x?}");
        }
    }
}
