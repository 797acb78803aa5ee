//! A gate that stands comes in; connections of the agent's own that must be refused, and some that must not, say which layers
//! really refuse.

use std::io::{self, ErrorKind, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt;
use sensor_common::gate::{
    ACTION_DENY, RULE_DESTINATION, RULE_PATH, RuleKey, SCOPE_CONTENT, SCOPE_ENFORCED, SCOPE_PATHS,
    Subject, Verdict,
};

use crate::bpf::Gate;
use crate::bpf::GateMaps;
use crate::bpf::has_lasting_probes;
use crate::bpf::octets;
use crate::enforce::Error;

use super::{proof, words};

/// Name and address that lead nowhere but to a refusal.
const REFUSED_NAME: &str = "refused.tollgate.invalid";
/// Name that is allowed, but for what the proofs refuse on it.
const OPEN_NAME: &str = "open.tollgate.invalid";
/// Method and path that are refused to the open name.
const REFUSED_PATH: &str = "GET /refused";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 84, 71, 1);
const HTTPS: u16 = 443;
/// Class of the agent itself.
const CLASS: &str = "tollgate probe";
/// Why content is not judged on older kernels.
const OLD: &str = "Linux 6.10 or newer is needed: before, probes cannot be kept to one process";
/// Time in which a loopback connection is made.
const DEADLINE: Duration = Duration::from_secs(1);

/// A layer that can be proven from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// What ought to be attached to the machine.
    Links,
    /// By the address, at `connect`.
    Address,
    /// Datagrams, by their address.
    Datagram,
    /// By the name, at the ClientHello.
    Name,
    /// By a request's plaintext, at the write of its record.
    Content,
    /// On open connections, at the next write.
    Change,
}

/// What a proof saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The layer.
    pub layer: Layer,
    /// Why the layer does not refuse; `None` where it does.
    pub fault: Option<String>,
}

/// What all proofs saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// One proof a layer.
    pub proofs: Vec<Proof>,
}

impl Layer {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Address => "address",
            Self::Datagram => "datagram",
            Self::Name => "name",
            Self::Content => "content",
            Self::Change => "change",
        }
    }
}

impl Health {
    /// Tries every layer with connections of this process.
    pub fn probe(maps: &mut GateMaps, folder: &Path) -> Result<Self, Error> {
        prepare(maps)?;
        let class = words::class(CLASS);
        let own = std::process::id();
        maps.set_process(own, Some(Subject { class, ..Subject::default() }))?;
        let missing = Gate::missing_links(folder);
        let lasting = has_lasting_probes();
        let links = (!missing.is_empty()).then(|| missing.join(", "));
        let layers = [
            (Layer::Links, links),
            (Layer::Address, address_fault()),
            (Layer::Datagram, datagram_fault()),
            (Layer::Name, name_fault(folder)),
            (Layer::Content, if lasting { told(content_fault()) } else { Some(OLD.to_owned()) }),
            (Layer::Change, told(change_fault(maps))),
        ];
        maps.set_process(own, None)?;
        Ok(Self { proofs: layers.map(|(layer, fault)| Proof { layer, fault }).to_vec() })
    }

    /// Layers that do not refuse, with why. Where nobody's content is judged, that layer is not asked for.
    pub fn faults(&self, judges_content: bool) -> Vec<String> {
        let fault = |proof: &Proof| {
            let asked_for = judges_content || proof.layer != Layer::Content;
            let fault = proof.fault.as_deref().filter(|_| asked_for)?;
            Some(format!("enforcement by {}: {fault}", proof.layer.as_str()))
        };
        self.proofs.iter().filter_map(fault).collect()
    }
}

/// Tells the gate what is refused to the class of the proofs; it stays, and concerns nobody else.
fn prepare(maps: &mut GateMaps) -> Result<(), Error> {
    let (class, reason) = (words::class(CLASS), words::reason(CLASS));
    let refused = words::destination(REFUSED_NAME);
    let open = words::destination(OPEN_NAME);
    let verdict = Verdict { action: ACTION_DENY, reason, ..Verdict::default() };
    maps.set_words(reason, CLASS)?;
    let key = RuleKey { class, kind: RULE_DESTINATION, value: [u64::from(refused), 0] };
    maps.set_rule(key, Some(verdict))?;
    let path = [words::hash(REFUSED_PATH.as_bytes()), u64::from(open)];
    maps.set_rule(RuleKey { class, kind: RULE_PATH, value: path }, Some(verdict))?;
    maps.set_scope(class, Some(SCOPE_ENFORCED | SCOPE_CONTENT | SCOPE_PATHS))?;
    maps.set_dedicated(own_address(), Some(refused))?;
    for (name, leads) in [(REFUSED_NAME, refused), (OPEN_NAME, open)] {
        if let Some(key) = words::name(name) {
            maps.set_name(key, Some(leads))?;
        }
    }
    Ok(())
}

/// Class of the proofs, which no orders know.
pub fn is_own(class: u32) -> bool {
    class == words::class(CLASS)
}

/// Address of the proofs, as the gate keeps it.
pub(super) fn own_address() -> [u8; 16] {
    octets(IpAddr::V4(ADDRESS))
}

/// Keys of the names of the proofs.
pub(super) fn own_names() -> impl Iterator<Item = u64> {
    [REFUSED_NAME, OPEN_NAME].into_iter().filter_map(words::name)
}

fn refused(outcome: io::Result<()>) -> Option<String> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => Some(format!("the probe failed otherwise: {error}")),
        Ok(()) => Some("the probe was not refused".to_owned()),
    }
}

/// What went wrong on the way to a refusal is a fault as well.
fn told(fault: io::Result<Option<String>>) -> Option<String> {
    fault.unwrap_or_else(|error| Some(format!("the probe failed before it was refused: {error}")))
}

fn address_fault() -> Option<String> {
    let connect = |ip: IpAddr| {
        let address = SocketAddr::from((ip, HTTPS));
        TcpStream::connect_timeout(&address, DEADLINE).map(drop)
    };
    refused(connect(IpAddr::V4(ADDRESS))).or_else(|| {
        let outcome = connect(IpAddr::V6(ADDRESS.to_ipv6_mapped()));
        // A machine without IPv6 has nothing to refuse there.
        let lacks = |error: &io::Error| error.raw_os_error() == Some(libc::EAFNOSUPPORT);
        if outcome.as_ref().is_err_and(lacks) { None } else { refused(outcome) }
    })
}

fn datagram_fault() -> Option<String> {
    let send = |own: IpAddr, to: IpAddr| {
        let socket = UdpSocket::bind((own, 0))?;
        socket.send_to(&[0], (to, HTTPS)).map(drop)
    };
    refused(send(Ipv4Addr::LOCALHOST.into(), ADDRESS.into())).or_else(|| {
        let outcome = send(Ipv6Addr::UNSPECIFIED.into(), ADDRESS.to_ipv6_mapped().into());
        let lacks = |error: &io::Error| {
            matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
        };
        if outcome.as_ref().is_err_and(lacks) { None } else { refused(outcome) }
    })
}

/// A connection of this process to itself; the far end stays open as long as the listener.
fn connect() -> io::Result<(TcpListener, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    Ok((listener, stream))
}

fn name_fault(folder: &Path) -> Option<String> {
    let outcome = || {
        let (_listener, mut stream) = connect()?;
        stream.write_all(&proof::hello(REFUSED_NAME))
    };
    let fault = refused(outcome())?;
    let rivals = Gate::rivals(folder);
    Some(if rivals.is_empty() {
        fault
    } else {
        format!(
            "{fault}; sockets of this machine are held by {}: run one gate a machine, and take the pins of the other away",
            rivals.join(", ")
        )
    })
}

fn content_fault() -> io::Result<Option<String>> {
    let (_listener, mut stream) = connect()?;
    stream.write_all(&proof::hello(OPEN_NAME))?;
    let request = |path: &str| format!("{path} HTTP/1.1\r\nHost: {OPEN_NAME}\r\n\r\n");
    let allowed = proof::write(request("GET /allowed").as_bytes(), 1);
    stream.write_all(&allowed)?;
    let denied = proof::write(request(REFUSED_PATH).as_bytes(), 2);
    Ok(refused(stream.write_all(&denied)))
}

fn change_fault(maps: &mut GateMaps) -> io::Result<Option<String>> {
    let (_listener, mut stream) = connect()?;
    stream.write_all(&proof::hello(OPEN_NAME))?;
    let cookie = sockopt::socket_cookie(&stream)?;
    let verdict =
        Verdict { action: ACTION_DENY, reason: words::reason(CLASS), ..Verdict::default() };
    maps.set_mark(cookie, Some(verdict)).map_err(io::Error::other)?;
    Ok(refused(stream.write_all(&proof::write(b"any", 3))))
}
