//! A datagram comes in; its next long header packet goes out, with what lies behind it (RFC 9000, 17.2).

use super::Error;
use crate::destination::bytes::Bytes;

/// Longest connection identifier (RFC 9000, 17.2).
const CONNECTION_ID_MAX: usize = 20;

/// A version of QUIC whose Initial keys are public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// RFC 9000.
    One,
    /// RFC 9369.
    Two,
}

/// An Initial packet, still protected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Initial<'a> {
    pub(super) version: Version,
    /// The client's first destination connection identifier, from which the keys come.
    pub(super) destination: &'a [u8],
    /// The packet from its first byte to its end.
    pub(super) bytes: &'a [u8],
    /// Where the packet number begins.
    pub(super) number_at: usize,
}

/// The next packet of a datagram (`None` where it is of another type), and the bytes behind it.
pub(super) fn next(datagram: &[u8]) -> Result<(Option<Initial<'_>>, &[u8]), Error> {
    let mut bytes = Bytes::new(datagram);
    let first = bytes.byte().ok_or(Error::NotQuic)?;
    // Header form and the fixed bit.
    if first & 0xc0 != 0xc0 {
        return Err(Error::NotQuic);
    }
    let number = bytes.number(4).and_then(|number| u32::try_from(number).ok());
    let (version, initial) = match number.ok_or(Error::NotQuic)? {
        1 => (Version::One, 0),
        0x6b33_43cf => (Version::Two, 1),
        other => return Err(Error::Version(other)),
    };
    let destination = bytes.prefixed(1).ok_or(Error::NotQuic)?;
    let source = bytes.prefixed(1).ok_or(Error::NotQuic)?;
    if destination.len() > CONNECTION_ID_MAX || source.len() > CONNECTION_ID_MAX {
        return Err(Error::NotQuic);
    }
    let kind = (first >> 4) & 3;
    if kind == initial {
        let _token = varint_prefixed(&mut bytes)?;
    } else if kind == (initial.wrapping_add(3)) & 3 {
        // A Retry has no length: it fills the datagram.
        return Ok((None, &[]));
    }
    let payload = varint_prefixed(&mut bytes)?;
    let behind = bytes.rest();
    let end = datagram.len().saturating_sub(behind.len());
    let number_at = end.saturating_sub(payload.len());
    let whole = datagram.get(..end).ok_or(Error::NotQuic)?;
    let packet = Initial { version, destination, bytes: whole, number_at };
    Ok(((kind == initial).then_some(packet), behind))
}

fn varint_prefixed<'a>(bytes: &mut Bytes<'a>) -> Result<&'a [u8], Error> {
    let length = bytes.varint().and_then(|length| usize::try_from(length).ok());
    length.and_then(|length| bytes.take(length)).ok_or(Error::NotQuic)
}
