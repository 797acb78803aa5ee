//! What sockets say first comes in; whose ClientHello it is, and the names it carries, go out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sensor_common::record::{
    FLAG_AI_NAME, FLAG_DATAGRAM, FLAG_HELD, FLAG_UNKNOWN_LIBRARY, Header, Hello, SOCKET_AI,
    SOCKET_OF_INTEREST, Socket,
};

use crate::bpf::OpeningMap;
use crate::capture;
use crate::destination::client_hello::{Assembler, Progress};
use crate::destination::dns_stream::Streams;
use crate::destination::{ClientHello, Resolved, quic};
use crate::policy::Fact;
use crate::probes::Why;

use super::intent::Intent;
use super::names::is_telling;
use super::notice::{Greeting, Read, ToPipeline};

/// ClientHellos that are put together at once; of each at most 32 KiB are held.
const UNDER_WAY_MAX: usize = 256;
/// Time after which a hello that is not whole gives way to others, in nanoseconds.
const GIVEN_UP_NS: u64 = 10_000_000_000;
/// Hellos of QUIC that are remembered: more than the kernel half hands up in that time.
const TOLD_MAX: usize = 8192;

/// A socket and its far end: one socket may carry many connections of QUIC.
type Place = (u64, Option<SocketAddr>);

/// What the thread knows about the beginnings of connections.
pub(super) struct Openings {
    kernel: OpeningMap,
    under_way: UnderWay,
    told: Told,
    pub(super) resolved: Resolved,
    /// Answers of name servers over TCP.
    pub(super) answers: Streams,
}

/// Hellos of which more is to come.
#[derive(Default)]
struct UnderWay(HashMap<Place, Opening>);

/// Hellos of QUIC that were told, by when they last came: one that is sent again, or once more after a Retry, is of the same
/// connection.
#[derive(Default)]
struct Told(HashMap<(Place, [u8; 32]), u64>);

/// A hello on its way.
struct Opening {
    parts: Parts,
    began_ns: u64,
    /// Flags of its first part: whether the kernel half has told of its name, and which library it is of.
    flags: u32,
}

enum Parts {
    /// Of a byte stream, with the sequence number of the next byte.
    Stream(Assembler, u32),
    Datagrams(quic::Assembler),
}

/// Why a hello is not read.
struct Unread;

impl Parts {
    fn new(header: &Header) -> Self {
        if header.flags & FLAG_DATAGRAM != 0 {
            return Self::Datagrams(quic::Assembler::default());
        }
        Self::Stream(Assembler::default(), sequence_of(header))
    }

    /// Whether there is something to go on with: what answers a server's first QUIC packet is sealed under keys nobody has.
    fn is_begun(&self) -> bool {
        match self {
            Self::Stream(..) => true,
            Self::Datagrams(assembler) => assembler.is_begun(),
        }
    }

    fn push(&mut self, header: &Header, bytes: &[u8]) -> Result<Option<Box<ClientHello>>, Unread> {
        let (assembler, next) = match self {
            // A later packet of the same connection may be of another kind, and is of no use then.
            Self::Datagrams(assembler) => return Ok(assembler.push(bytes).ok().flatten()),
            Self::Stream(assembler, next) => (assembler, next),
        };
        let again = next.wrapping_sub(sequence_of(header));
        let again = usize::try_from(again).ok().filter(|_| again < u32::MAX / 2).ok_or(Unread)?;
        let Some(fresh) = bytes.get(again..).filter(|fresh| !fresh.is_empty()) else {
            return Ok(None);
        };
        match assembler.push(fresh) {
            Ok(Progress::Hello(hello)) => return Ok(Some(hello)),
            Ok(Progress::Incomplete) => {}
            Err(_) => return Err(Unread),
        }
        // Of a segment that was too long to be handed up whole, the rest is missing.
        if bytes.len() < usize::try_from(header.call_len).unwrap_or(usize::MAX) {
            return Err(Unread);
        }
        *next = next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(u32::MAX));
        Ok(None)
    }
}

/// The TCP sequence number of the first byte, which is all that the offset of such a record is.
fn sequence_of(header: &Header) -> u32 {
    u32::try_from(header.offset & u64::from(u32::MAX)).unwrap_or_default()
}

impl UnderWay {
    /// Takes the next bytes; gives a hello that is whole, and the flags of its first part.
    fn push(
        &mut self,
        place: Place,
        header: &Header,
        bytes: &[u8],
    ) -> Result<Option<(Box<ClientHello>, u32)>, Unread> {
        let mut opening = match self.0.remove(&place) {
            Some(known) => known,
            None => self.begin(header)?,
        };
        let hello = opening.parts.push(header, bytes)?;
        if let Some(hello) = hello {
            return Ok(Some((hello, opening.flags)));
        }
        if opening.parts.is_begun() {
            self.0.insert(place, opening);
        }
        Ok(None)
    }

    /// A hello of which nothing has come yet, where there is room for it.
    fn begin(&mut self, header: &Header) -> Result<Opening, Unread> {
        let now = header.at_ns;
        if self.0.len() >= UNDER_WAY_MAX {
            self.0.retain(|_, opening| opening.began_ns.saturating_add(GIVEN_UP_NS) > now);
        }
        if self.0.len() >= UNDER_WAY_MAX {
            return Err(Unread);
        }
        Ok(Opening { parts: Parts::new(header), began_ns: now, flags: header.flags })
    }
}

impl Told {
    /// Notes a hello; says whether it is a new one.
    fn is_news(&mut self, hello: (Place, [u8; 32]), now: u64) -> bool {
        let is_recent = |at: u64| at.saturating_add(GIVEN_UP_NS) > now;
        if self.0.len() >= TOLD_MAX {
            self.0.retain(|_, at| is_recent(*at));
        }
        if self.0.len() >= TOLD_MAX {
            self.0.clear();
        }
        !self.0.insert(hello, now).is_some_and(is_recent)
    }
}

impl Openings {
    pub(super) fn new(kernel: OpeningMap) -> Self {
        Self {
            kernel,
            under_way: UnderWay::default(),
            told: Told::default(),
            resolved: Resolved::default(),
            answers: Streams::default(),
        }
    }

    /// Takes the next bytes; gives a hello that is whole, and the flags of its first part.
    fn push(
        &mut self,
        place: Place,
        header: &Header,
        bytes: &[u8],
    ) -> Result<Option<(Box<ClientHello>, u32)>, Unread> {
        let outcome = self.under_way.push(place, header, bytes);
        if !matches!(outcome, Ok(None)) {
            self.kernel.remove(place.0);
        }
        outcome
    }
}

impl Intent {
    /// Takes a name that the kernel half has found in a ClientHello.
    pub(super) fn on_hello(&mut self, header: &Header, hello: &Hello) {
        let name = capture::name_of(hello);
        let ai = header.flags & FLAG_AI_NAME != 0
            && name.as_deref().is_some_and(|name| self.is_ai(name));
        let greeting = Greeting { name, ai, ..Greeting::default() };
        self.greet(header, &hello.socket, greeting, ai);
    }

    /// Takes what a socket says first.
    pub(super) fn on_opening(&mut self, header: &Header, socket: &Socket, bytes: &[u8]) {
        if header.flags & FLAG_UNKNOWN_LIBRARY != 0 && socket.flags & SOCKET_AI != 0 {
            // Its name was seen before, and it may wait: there is no time to lose.
            self.look_deeper(header.tgid, header.at_ns);
        }
        let place = (header.connection, capture::remote_of(socket));
        let (hello, first) = match self.openings.push(place, header, bytes) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(Unread) => return self.status.hello_not_read(),
        };
        let over_quic = header.flags & FLAG_DATAGRAM != 0;
        let ai = hello.server_name.as_deref().is_some_and(|name| self.is_ai(name));
        let read =
            Read { ja4: hello.ja4(over_quic), has_encrypted_hello: hello.has_encrypted_hello };
        let greeting = Greeting {
            name: hello.server_name.clone(),
            ai,
            read: Some(Arc::new(read)),
            ..Greeting::default()
        };
        if !over_quic {
            let is_told = first & FLAG_AI_NAME != 0;
            let header = Header { flags: header.flags | first & FLAG_UNKNOWN_LIBRARY, ..*header };
            self.greet(&header, socket, greeting, ai && !is_told);
        } else if (ai || socket.flags & SOCKET_OF_INTEREST != 0)
            && self.openings.told.is_news((place, hello.random), header.at_ns)
        {
            let greeting = self.named(socket, greeting, header.at_ns);
            self.notify(ToPipeline::Quic { socket: *socket, greeting, at_ns: header.at_ns });
        }
    }

    /// Tells the pipeline what a connection is called; `is_news` where its name is that of an AI provider, and nobody knew.
    fn greet(&mut self, header: &Header, socket: &Socket, greeting: Greeting, is_news: bool) {
        let probed = self.registry.why(header.tgid).is_some();
        if is_news && header.tgid != 0 {
            self.status.hello_seen(probed, header.flags & FLAG_HELD != 0);
            self.show_intent(header.tgid, Why::Hello, header.at_ns);
            if header.flags & FLAG_UNKNOWN_LIBRARY != 0 {
                self.look_deeper(header.tgid, header.at_ns);
            }
            self.note_socket(socket, header.cgroup, greeting.name.as_deref());
        }
        let greeting = Greeting { probed, ..self.named(socket, greeting, header.at_ns) };
        self.notify(ToPipeline::Hello { socket: *socket, greeting });
    }

    /// Adds the name by which the process found the address. Where the hello may hide a name, that is the one of a provider
    /// which the process asked for too: an address may have the name that is seen as well.
    fn named(&self, socket: &Socket, greeting: Greeting, now: u64) -> Greeting {
        let address = capture::remote_of(socket).map(|remote| remote.ip());
        let said = greeting.name.as_deref();
        let may_hide = greeting.ech() == Fact::Known(true);
        let resolved = &self.openings.resolved;
        let dns = address.and_then(|address| {
            let is_ai = |name: &str| may_hide && self.is_ai(name);
            let hidden = resolved.asked_for(socket.tgid, address, now, is_ai);
            let dns = hidden.or_else(|| resolved.name_of(socket.tgid, address, said, now))?;
            is_telling(|name| self.is_ai(name), dns, said).then(|| dns.to_owned())
        });
        Greeting { dns, ..greeting }
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::record::HEADER_LEN;
    use zerocopy::FromBytes;

    use super::*;

    fn header(offset: u32, call_len: usize) -> Header {
        let mut header = Header::read_from_bytes(&[0; HEADER_LEN]).unwrap();
        header.offset = u64::from(offset);
        header.call_len = u32::try_from(call_len).unwrap();
        header
    }

    fn hello() -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        let [length, message] =
            [body.len(), body.len().saturating_add(4)].map(|length| u8::try_from(length).unwrap());
        [&[22, 3, 1, 0, message, 1, 0, 0, length], body.as_slice()].concat()
    }

    #[test]
    fn segments_sent_again_count_once_whatever_their_numbers() {
        let bytes = hello();
        // The numbers begin anew within the hello.
        let start = u32::MAX - 9;
        let mut parts = Parts::new(&header(start, 0));
        for (at, end) in [(0, 20), (10, 30), (0, 30), (30, bytes.len())] {
            let piece = &bytes[at..end];
            let number = start.wrapping_add(u32::try_from(at).unwrap());
            let whole = parts.push(&header(number, piece.len()), piece).ok().unwrap();
            assert_eq!(whole.is_some(), end == bytes.len(), "{at}..{end}");
        }
    }

    #[test]
    fn datagrams_that_cannot_be_opened_take_no_room() {
        const FIRST: &[u8] = include_bytes!("../../../tests/corpus/quic/two-datagrams-0.bin");
        let mut under_way = UnderWay::default();
        let datagram = Header { flags: FLAG_DATAGRAM, ..header(0, 0) };
        let mut sealed = FIRST.to_vec();
        // Another connection id, as the server chooses one: other keys.
        sealed[6] ^= 1;
        for cookie in 0..=u64::try_from(UNDER_WAY_MAX).unwrap() {
            assert!(matches!(under_way.push((cookie, None), &datagram, &sealed), Ok(None)));
        }
        assert!(under_way.0.is_empty());
        assert!(matches!(under_way.push((1, None), &datagram, FIRST), Ok(None)));
        assert_eq!(under_way.0.len(), 1);
        let bytes = hello();
        let whole = under_way.push((2, None), &header(1, bytes.len()), &bytes);
        assert!(matches!(whole, Ok(Some(_))));
    }

    #[test]
    fn hello_of_quic_is_news_once_a_connection() {
        let mut told = Told::default();
        let (place, other) = ((1, None), (2, None));
        assert!(told.is_news((place, [1; 32]), 0));
        assert!(!told.is_news((place, [1; 32]), GIVEN_UP_NS - 1), "it is sent again");
        assert!(told.is_news((place, [2; 32]), 1), "another connection of the socket");
        assert!(told.is_news((other, [1; 32]), 1), "another socket");
        for cookie in 0..100_000 {
            told.is_news(((cookie, None), [3; 32]), 2);
        }
        assert!(told.0.len() <= TOLD_MAX);
    }

    #[test]
    fn hello_with_a_gap_is_not_read() {
        let bytes = hello();
        let mut parts = Parts::new(&header(100, 0));
        assert!(parts.push(&header(100, 10), &bytes[..10]).is_ok());
        assert!(parts.push(&header(111, 5), &bytes[11..16]).is_err());
        let mut parts = Parts::new(&header(100, 0));
        assert!(parts.push(&header(100, 30), &bytes[..20]).is_err());
    }
}
