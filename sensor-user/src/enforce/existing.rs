//! A process comes in; its connections that are older than the gate are put under watch.

use std::fs;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use sensor_common::gate::{DESTINATION_NONE, GATE_OLDER, Gate, STATE_AI, STATE_OTHER};

use crate::bpf::GateMaps;
use crate::enforce::Error;

/// Descriptors of a process that are looked at.
const DESCRIPTORS_MAX: usize = 65_536;

/// Puts every connected TCP socket of a process under watch; says how many.
pub fn enrol(maps: &mut GateMaps, pid: u32, class: u32) -> Result<usize, Error> {
    let failed = |source: rustix::io::Errno| Error::Socket {
        step: "opening a process's sockets",
        source: source.into(),
    };
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(process) = known else { return Ok(0) };
    let handle = pidfd_open(process, PidfdFlags::empty()).map_err(failed)?;
    let noted: std::collections::HashMap<_, _> = maps.sockets().into_iter().collect();
    let mut enrolled = 0_usize;
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    for entry in entries.take(DESCRIPTORS_MAX) {
        let is_socket = fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_socket) else { continue };
        let Ok(socket) = pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()) else { continue };
        let is_tcp = sockopt::socket_type(&socket) == Ok(SocketType::STREAM)
            && matches!(
                sockopt::socket_domain(&socket),
                Ok(AddressFamily::INET | AddressFamily::INET6)
            );
        if !is_tcp || rustix::net::getpeername(&socket).is_err() {
            continue;
        }
        let Ok(cookie) = sockopt::socket_cookie(&socket) else { continue };
        let known = noted.get(&cookie);
        let destination = known.map_or(DESTINATION_NONE, |socket| socket.destination);
        let state = if known.is_some() { STATE_AI } else { STATE_OTHER };
        let gate = Gate {
            cookie,
            tgid: pid,
            class,
            destination,
            state,
            flags: GATE_OLDER,
            ..Gate::default()
        };
        if maps.enrol(&socket, gate).is_ok() {
            enrolled = enrolled.saturating_add(1);
        }
    }
    Ok(enrolled)
}
