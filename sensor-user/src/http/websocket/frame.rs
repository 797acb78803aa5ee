//! The first bytes of a WebSocket frame come in; what they say about the frame goes out (RFC 6455, 5.2).

use crate::http::Message;

/// Bytes of the longest header: two, eight of a length, four of a mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// RFC 6455, 5.5: control frames carry no more than this.
const CONTROL_BYTES_MAX: u64 = 125;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    /// Ping and pong: nobody here needs to tell them apart.
    Control,
}

impl Opcode {
    fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 | 10 => Some(Self::Control),
            _ => None,
        }
    }

    /// Whether frames of this kind stand between the frames of a message and belong to none.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Control)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    /// The message ends with this frame.
    pub(super) last: bool,
    /// RFC 7692, 6: set on the first frame of a compressed message.
    pub(super) compressed: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) payload_bytes: u64,
    /// Bytes of the header itself.
    pub(super) header_bytes: usize,
}

/// How a header came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Frame(Frame),
    /// More bytes are needed.
    More,
    /// It is none.
    Malformed,
}

/// Reads a header from the front of `bytes`; `extended` says that compression was agreed on.
pub(super) fn parse(bytes: &[u8], side: Message, extended: bool) -> Parsed {
    let (Some(first), second) = (bytes.first(), bytes.get(1)) else { return Parsed::More };
    let (last, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
    let Some(opcode) = Opcode::of(first & 0x0f) else { return Parsed::Malformed };
    let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
    if first & 0x30 != 0 || (compressed && !(extended && starts)) || (opcode.is_control() && !last)
    {
        return Parsed::Malformed;
    }
    let Some(second) = second else { return Parsed::More };
    // RFC 6455, 5.1: a client masks every frame, a server none.
    let masked = second & 0x80 != 0;
    if masked != (side == Message::Request) {
        return Parsed::Malformed;
    }
    let extra = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask_at = 2_usize.saturating_add(extra);
    let header_bytes = mask_at.saturating_add(if masked { 4 } else { 0 });
    let (Some(length), Some(mask)) = (bytes.get(2..mask_at), bytes.get(mask_at..header_bytes))
    else {
        return Parsed::More;
    };
    let short = u64::from(second & 0x7f);
    let long = length.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    // RFC 6455, 5.2: the shortest form of a length is the only one allowed, and its highest bit is not set.
    let (payload_bytes, fits) = match extra {
        0 => (short, true),
        2 => (long, long > 125),
        _ => (long, long > 0xffff && long >> 63 == 0),
    };
    if !fits || (opcode.is_control() && payload_bytes > CONTROL_BYTES_MAX) {
        return Parsed::Malformed;
    }
    let mask = mask.first_chunk::<4>().copied();
    Parsed::Frame(Frame { opcode, last, compressed, mask, payload_bytes, header_bytes })
}

/// Takes a mask off, or puts it on; `phase` is how many bytes of the payload came before (RFC 6455, 5.3).
pub(super) fn unmask(bytes: &[u8], mask: [u8; 4], phase: u64, out: &mut Vec<u8>) {
    let skip = usize::try_from(phase & 3).unwrap_or(0);
    let key = mask.iter().copied().cycle().skip(skip);
    out.clear();
    out.extend(bytes.iter().zip(key).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: Opcode, payload_bytes: u64, header_bytes: usize) -> Parsed {
        let frame = Frame {
            opcode,
            last: true,
            compressed: false,
            mask: None,
            payload_bytes,
            header_bytes,
        };
        Parsed::Frame(frame)
    }

    #[test]
    fn headers_of_servers_are_read() {
        let cases: &[(&[u8], Parsed)] = &[
            (&[0x81, 5], header(Opcode::Text, 5, 2)),
            (&[0x82, 126, 1, 0], header(Opcode::Binary, 256, 4)),
            (&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], header(Opcode::Text, 65_536, 10)),
            (&[0x89, 0], header(Opcode::Control, 0, 2)),
            (&[0x88, 2], header(Opcode::Close, 2, 2)),
            (&[], Parsed::More),
            (&[0x81], Parsed::More),
            (&[0x81, 126, 1], Parsed::More),
            // Masked by a server; reserved bits and numbers; a cut or long control frame; a length in a long form.
            (&[0x81, 0x85, 1, 2, 3, 4], Parsed::Malformed),
            (&[0x91, 1], Parsed::Malformed),
            (&[0xc1, 1], Parsed::Malformed),
            (&[0x83, 1], Parsed::Malformed),
            (&[0x09, 0], Parsed::Malformed),
            (&[0x89, 126, 0, 200], Parsed::Malformed),
            (&[0x81, 126, 0, 125], Parsed::Malformed),
            (&[0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255], Parsed::Malformed),
            (&[0x81, 127, 128, 0, 0, 0, 0, 0, 0, 0], Parsed::Malformed),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes, Message::Response, false), *expected, "{bytes:x?}");
        }
    }

    #[test]
    fn only_the_first_frame_of_a_message_says_that_it_is_compressed() {
        assert!(
            matches!(parse(&[0xc1, 1], Message::Response, true), Parsed::Frame(f) if f.compressed)
        );
        assert_eq!(parse(&[0xc0, 1], Message::Response, true), Parsed::Malformed);
        assert_eq!(parse(&[0xc9, 1], Message::Response, true), Parsed::Malformed);
    }

    #[test]
    fn a_mask_goes_on_where_the_bytes_before_ended() {
        let (mask, mut out) = ([0x37, 0xfa, 0x21, 0x3d], Vec::new());
        // RFC 6455, 5.7: "Hello", masked.
        unmask(&[0x7f, 0x9f, 0x4d, 0x51, 0x58], mask, 0, &mut out);
        assert_eq!(out, b"Hello");
        unmask(&[0x4d, 0x51, 0x58], mask, 2, &mut out);
        assert_eq!(out, b"llo");
        let masked = parse(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d], Message::Request, false);
        assert!(matches!(masked, Parsed::Frame(f) if f.mask == Some(mask) && f.header_bytes == 6));
    }
}
