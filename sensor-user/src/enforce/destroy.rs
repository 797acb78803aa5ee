//! Cookies of sockets come in; those sockets are aborted, and both ends see it at once (`ECONNABORTED`, a reset).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::enforce::Error;

/// Messages of `sock_diag` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// Flags of netlink messages (linux/netlink.h).
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// Types of netlink messages.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Head of a netlink message; head and body of a request; what stands before the socket's identity in an answer.
const HEAD_LEN: usize = 16;
const REQUEST_LEN: usize = 72;
const ANSWER_ID_AT: usize = 4;
/// Bytes of a socket's identity (`struct inet_diag_sockid`), its cookie last.
const ID_LEN: usize = 48;
const COOKIE_AT: usize = 40;
/// Answers read at once.
const ANSWER_BYTES: usize = 64 * 1024;
/// Answers read of one table at most: more sockets than a network namespace may have.
const ANSWERS_MAX: usize = 4096;

/// What became of sockets that were to be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Sockets that were aborted.
    pub cut: usize,
    /// Sockets that were not there any more, or not where their process is.
    pub missed: usize,
}

/// Aborts sockets: cookies, each with the process in whose network they are.
pub fn cut(sockets: &[(u64, u32)]) -> Cut {
    let mut by_process: HashMap<u32, HashSet<u64>> = HashMap::new();
    for (cookie, pid) in sockets {
        by_process.entry(*pid).or_default().insert(*cookie);
    }
    let mut done = Cut::default();
    for (pid, cookies) in by_process {
        let wanted = cookies.len();
        // A thread of its own changes the network it is in, and ends there.
        let worked = thread::spawn(move || cut_in(pid, &cookies)).join();
        let cut = worked.ok().and_then(Result::ok).unwrap_or(0);
        done.cut = done.cut.saturating_add(cut);
        done.missed = done.missed.saturating_add(wanted.saturating_sub(cut));
    }
    done
}

fn cut_in(pid: u32, cookies: &HashSet<u64>) -> Result<usize, Error> {
    let failed = |step| move |source: io::Error| Error::Socket { step, source };
    let network =
        File::open(format!("/proc/{pid}/ns/net")).map_err(failed("finding the network"))?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| failed("entering the network")(error.into()))?;
    let mut cut = 0_usize;
    for family in [2, 10] {
        for id in identities(family, cookies).map_err(failed("listing sockets"))? {
            cut = cut.saturating_add(usize::from(destroy(family, &id).is_ok()));
        }
    }
    Ok(cut)
}

fn open() -> io::Result<OwnedFd> {
    let protocol = Some(netlink::SOCK_DIAG);
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

/// A request about sockets of a family (`struct inet_diag_req_v2` behind `struct nlmsghdr`).
fn request(kind: u16, flags: u16, family: u8, id: &[u8; ID_LEN]) -> [u8; REQUEST_LEN] {
    const TCP: u8 = 6;
    /// Every state but listening, where a socket may carry data.
    const STATES: u32 = !(1 << 10);
    let mut parts = Vec::with_capacity(REQUEST_LEN);
    parts.extend(u32::try_from(REQUEST_LEN).unwrap_or(0).to_ne_bytes());
    parts.extend(kind.to_ne_bytes());
    parts.extend((flags | REQUEST).to_ne_bytes());
    parts.extend([0; 8]);
    parts.extend([family, TCP, 0, 0]);
    parts.extend(STATES.to_ne_bytes());
    parts.extend(id);
    parts.try_into().unwrap_or([0; REQUEST_LEN])
}

/// Identities of the sockets with these cookies.
fn identities(family: u8, cookies: &HashSet<u64>) -> io::Result<Vec<[u8; ID_LEN]>> {
    let socket = open()?;
    send(&socket, &request(BY_FAMILY, DUMP, family, &[0; ID_LEN]), SendFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0u8; ANSWER_BYTES];
    for _ in 0..ANSWERS_MAX {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, next)) = message(rest) {
            if kind == DONE || kind == ERROR {
                return Ok(found);
            }
            let end = ANSWER_ID_AT.saturating_add(ID_LEN);
            if let Some(id) = body.get(ANSWER_ID_AT..end).and_then(|id| id.try_into().ok()) {
                let id: [u8; ID_LEN] = id;
                let cookie = id.get(COOKIE_AT..).and_then(|bytes| bytes.try_into().ok());
                let is_wanted =
                    cookie.is_some_and(|bytes| cookies.contains(&u64::from_ne_bytes(bytes)));
                found.extend(is_wanted.then_some(id));
            }
            rest = next;
        }
    }
    Ok(found)
}

/// The next message: its type, its body, and what follows.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEAD_LEN..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, next))
}

fn destroy(family: u8, id: &[u8; ID_LEN]) -> io::Result<()> {
    let socket = open()?;
    send(&socket, &request(DESTROY, ACKNOWLEDGE, family, id), SendFlags::empty())?;
    let mut buffer = [0u8; 1024];
    let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
    let answer = message(buffer.get(..length).unwrap_or_default());
    let code = answer
        .filter(|(kind, _, _)| *kind == ERROR)
        .and_then(|(_, body, _)| body.get(..4)?.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) }
}
