//! The process table comes in; which processes hold established connections, and to where, goes out.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 4096;
/// State `TCP_ESTABLISHED` in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Connections of a process: remote ends of its established TCP sockets.
pub fn of_process(pid: u32) -> Vec<(SocketAddr, SocketAddr)> {
    let table = table_of(pid);
    inodes_of(pid).iter().filter_map(|inode| table.get(inode).copied()).collect()
}

/// Ends of the socket behind a descriptor of a process.
pub fn of_descriptor(pid: u32, descriptor: u32) -> Option<(SocketAddr, SocketAddr)> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    table_of(pid).get(&inode_of(target.to_str()?)?).copied()
}

fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Processes with an established connection to one of `ports`.
pub fn processes_connected_to(ports: &[u16]) -> Vec<u32> {
    let mut tables: BTreeMap<String, HashMap<u64, (SocketAddr, SocketAddr)>> = BTreeMap::new();
    process_ids()
        .into_iter()
        .filter(|pid| {
            let Ok(space) = fs::read_link(format!("/proc/{pid}/ns/net")) else { return false };
            let space = space.to_string_lossy().into_owned();
            let table = tables.entry(space).or_insert_with(|| {
                let mut table = table_of(*pid);
                table.retain(|_, (_, remote)| ports.contains(&remote.port()));
                table
            });
            !table.is_empty() && inodes_of(*pid).iter().any(|inode| table.contains_key(inode))
        })
        .collect()
}

/// All process ids.
pub fn process_ids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn inodes_of(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .take(DESCRIPTORS_MAX)
        .filter_map(|entry| inode_of(fs::read_link(entry.path()).ok()?.to_str()?))
        .collect()
}

fn table_of(pid: u32) -> HashMap<u64, (SocketAddr, SocketAddr)> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let (v4, v6) = (read("tcp"), read("tcp6"));
    v4.lines().chain(v6.lines()).filter_map(row).collect()
}

/// One row of `/proc/net/tcp`: inode, local and remote end, where the connection is established.
fn row(line: &str) -> Option<(u64, (SocketAddr, SocketAddr))> {
    let mut fields = line.split_ascii_whitespace();
    let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    if state != ESTABLISHED {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok().filter(|inode| *inode != 0)?;
    Some((inode, (end(local)?, end(remote)?)))
}

/// An address as the kernel prints it: hexadecimal words in host order, then the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at.checked_add(8)?)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let ip = match octets.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn own_connection_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let stream = TcpStream::connect(there).unwrap();
        let here = stream.local_addr().unwrap();
        let pid = std::process::id();
        assert!(of_process(pid).contains(&(here, there)));
        assert!(processes_connected_to(&[there.port()]).contains(&pid));
    }

    #[test]
    fn listening_socket_is_not_a_connection() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        assert_eq!(row(line), None);
        let open = line.replace(" 0A ", " 01 ");
        let (inode, (local, _)) = row(&open).unwrap();
        assert_eq!((inode, local.to_string().as_str()), (4711, "127.0.0.1:8080"));
    }
}
