//! Bytes of the kernel's ring buffers come in; checked records go out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sensor_common::record::{self, Header, Hello, Socket};
use zerocopy::FromBytes;

/// Why a record was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is shorter than its header or than it says it is.
    #[error("a record of {0} bytes is cut short")]
    Short(usize),
    /// Its kind is unknown: the kernel half is of another version.
    #[error("a record of unknown kind {0}")]
    Kind(u32),
}

/// A record of either ring.
#[derive(Debug)]
pub struct Record<'a> {
    /// The header as written by the kernel half.
    pub header: Header,
    /// What it carries.
    pub body: Body<'a>,
}

/// What a record carries.
#[derive(Debug)]
pub enum Body<'a> {
    /// Plaintext; shorter than `header.call_len` where bytes are missing.
    Data(&'a [u8]),
    /// A write has returned; `header.aux` bytes were accepted.
    Commit,
    /// Server name given to a TLS object.
    Name(&'a [u8]),
    /// A TLS object was freed.
    Free,
    /// A TLS object was given the descriptor in `header.aux`.
    Descriptor,
    /// A TLS object and this socket carried the same bytes.
    Bound(Socket),
    /// A socket sent a ClientHello.
    Hello(Hello),
    /// A socket of interest closed.
    Closed(Socket),
    /// A process connects to an AI address.
    Connect(Socket),
    /// A process asks DNS for an AI name.
    Question(Hello),
    /// A DNS answer.
    Answer(&'a [u8]),
    /// Bytes that this socket sends first.
    Opening(Socket, &'a [u8]),
    /// A program was executed.
    Exec,
    /// A process was forked; the child is in `header.aux`.
    Fork,
    /// A process has ended.
    Exit,
}

/// Checks one record.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Error> {
    let short = || Error::Short(bytes.len());
    let (header, rest) = Header::read_from_prefix(bytes).ok().ok_or_else(short)?;
    let captured = usize::try_from(header.captured).ok().ok_or_else(short)?;
    let payload = rest.get(..captured).ok_or_else(short)?;
    let socket =
        || Socket::read_from_prefix(payload).map(|(socket, _)| socket).ok().ok_or_else(short);
    let hello = || Hello::read_from_prefix(payload).map(|(hello, _)| hello).ok().ok_or_else(short);
    let body = match header.kind {
        record::KIND_DATA => Body::Data(payload),
        record::KIND_COMMIT => Body::Commit,
        record::KIND_NAME => Body::Name(payload),
        record::KIND_FREE => Body::Free,
        record::KIND_DESCRIPTOR => Body::Descriptor,
        record::KIND_BOUND => Body::Bound(socket()?),
        record::KIND_HELLO => Body::Hello(hello()?),
        record::KIND_CLOSED => Body::Closed(socket()?),
        record::KIND_CONNECT => Body::Connect(socket()?),
        record::KIND_QUESTION => Body::Question(hello()?),
        record::KIND_ANSWER => Body::Answer(payload),
        record::KIND_OPENING => {
            let bytes = payload.get(size_of::<Socket>()..).ok_or_else(short)?;
            Body::Opening(socket()?, bytes)
        }
        record::KIND_EXEC => Body::Exec,
        record::KIND_FORK => Body::Fork,
        record::KIND_EXIT => Body::Exit,
        other => return Err(Error::Kind(other)),
    };
    Ok(Record { header, body })
}

/// The name in a [`Hello`], lowercase, without the leading dot of DNS labels; `None` where it is not plain ASCII.
pub fn name_of(hello: &Hello) -> Option<String> {
    let length = usize::try_from(hello.name_len).ok()?;
    host_name(hello.name.get(..length)?)
}

/// A host name as the other stages write it: lowercase, plain ASCII.
pub fn host_name(bytes: &[u8]) -> Option<String> {
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let name = bytes.strip_prefix(b".").unwrap_or(bytes);
    if name.is_empty() || !name.iter().all(plain) {
        return None;
    }
    str::from_utf8(name).ok().map(str::to_ascii_lowercase)
}

/// Remote end of a socket; `None` where it is not known.
pub fn remote_of(socket: &Socket) -> Option<SocketAddr> {
    end(socket.family, socket.remote_address, socket.remote_port)
}

/// Local end of a socket; `None` where it is not known.
pub fn local_of(socket: &Socket) -> Option<SocketAddr> {
    end(socket.family, socket.local_address, socket.local_port)
}

fn end(family: u32, address: [u8; 16], port: u32) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = address;
    let ip = match family {
        2 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        10 => IpAddr::V6(Ipv6Addr::from(address)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::limits::NAME_MAX;
    use zerocopy::IntoBytes;

    fn header(kind: u32, captured: u32) -> Vec<u8> {
        let mut header = Header::read_from_bytes(&[0; record::HEADER_LEN]).unwrap();
        header.kind = kind;
        header.captured = captured;
        header.as_bytes().to_vec()
    }

    #[test]
    fn payload_ends_where_the_header_says() {
        let mut bytes = header(record::KIND_DATA, 3);
        bytes.extend(b"abcPADDING");
        assert!(matches!(decode(&bytes).unwrap().body, Body::Data(b"abc")));
    }

    #[test]
    fn cut_record_is_refused_at_every_length() {
        let mut bytes = header(record::KIND_BOUND, u32::try_from(size_of::<Socket>()).unwrap());
        bytes.extend(vec![0; size_of::<Socket>()]);
        assert!(decode(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]).unwrap_err(), Error::Short(end));
        }
    }

    #[test]
    fn unknown_kind_is_named() {
        assert_eq!(decode(&header(99, 0)).unwrap_err(), Error::Kind(99));
    }

    #[test]
    fn name_loses_its_leading_dot_and_its_case() {
        let mut hello = Hello::read_from_bytes(&[0; size_of::<Hello>()]).unwrap();
        hello.name[..9].copy_from_slice(b".API.test");
        hello.name_len = 9;
        assert_eq!(name_of(&hello).as_deref(), Some("api.test"));
        hello.name_len = u32::try_from(NAME_MAX).unwrap() + 1;
        assert_eq!(name_of(&hello), None);
        assert_eq!(host_name(b"evil\x1b[31m"), None);
    }

    #[test]
    fn mapped_v4_address_is_written_as_v4() {
        let mut socket = Socket { family: 10, remote_port: 443, ..Socket::default() };
        socket.remote_address[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        assert_eq!(remote_of(&socket).unwrap().to_string(), "127.0.0.1:443");
        socket.family = 0;
        assert_eq!(remote_of(&socket), None);
    }
}
