//! A number of clients comes in; private network namespaces with addresses, names and delays go out, removed when dropped.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::run_args;
use crate::lab::wire::DelayedWire;

/// Names of AI services (and of some that are none); the place in the list gives the address.
pub const HOSTS: &[&str] = &[
    "api.openai.com",
    "eu.api.openai.com",
    "api.anthropic.com",
    "myco.openai.azure.com",
    "api.groq.com",
    "api.deepseek.com",
    "openrouter.ai",
    "api.mistral.ai",
    "api.x.ai",
    "api.together.xyz",
    "api.fireworks.ai",
    "llm.internal.example",
    "www.example.com",
    "other.openai.azure.com",
    "generativelanguage.googleapis.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "s3.us-east-1.amazonaws.com",
];

/// Address of the lab's name server.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// Number of the first host's address; smaller ones are for the lab itself.
const FIRST_HOST: u8 = 11;

/// Client namespaces a lab may have: each takes one small network.
const CLIENTS_MAX: u8 = 50;

/// Third byte of the first client's network.
const FIRST_CLIENT_NET: u8 = 100;

/// Counts the labs of this process, so that each gets names of its own.
static LABS: AtomicU32 = AtomicU32::new(0);

/// How clients learn addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// From `/etc/hosts`: no packet is sent for a name.
    #[default]
    Hosts,
    /// From the lab's name server.
    Dns,
    /// From the lab's name server, over TCP.
    DnsOverTcp,
}

/// What a network should look like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of client namespaces.
    pub clients: u8,
    /// How clients learn addresses.
    pub names: Names,
    /// Whether names also have IPv6 addresses (`/etc/hosts` lists them first then).
    pub ipv6: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clients: 1, names: Names::Hosts, ipv6: false }
    }
}

/// Returns the IPv4 address of a host of [`HOSTS`].
pub fn address_of(host: &str) -> Option<Ipv4Addr> {
    let place = HOSTS.iter().position(|known| known.eq_ignore_ascii_case(host))?;
    let last = u8::try_from(place).ok()?.checked_add(FIRST_HOST)?;
    Some(Ipv4Addr::new(10, 77, 0, last))
}

/// Returns the IPv6 address of a host of [`HOSTS`].
///
/// The prefix is the one for documentation: resolvers put private ones behind IPv4.
pub fn address_v6_of(host: &str) -> Option<Ipv6Addr> {
    let [_, _, _, last] = address_of(host)?.octets();
    Some(Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, u16::from(last)))
}

/// One server namespace, joined with each client namespace by a veth pair.
///
/// Namespaces have no route to anything but each other, so no packet leaves them.
#[derive(Debug)]
pub struct Net {
    server: String,
    clients: Vec<String>,
    owned: bool,
    wires: BTreeMap<usize, DelayedWire>,
}

impl Net {
    /// Makes the namespaces; their names carry this process's id.
    pub fn up(options: &Options) -> Result<Self> {
        ensure!(options.clients <= CLIENTS_MAX, "at most {CLIENTS_MAX} client namespaces");
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let stem = format!("tg{}n{number}", std::process::id());
        let clients = (0..options.clients).map(|client| format!("{stem}c{client}")).collect();
        // From here on a failure drops the value and with it whatever was made.
        let net = Self { server: format!("{stem}s"), clients, owned: true, wires: BTreeMap::new() };
        net.make_server()?;
        for (place, client) in net.clients.iter().enumerate() {
            net.make_client(place)?;
            write_names(client, options)?;
        }
        Ok(net)
    }

    /// Returns the name of the server's namespace.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the name of a client's namespace.
    pub fn client(&self, place: usize) -> Result<&str> {
        self.clients.get(place).map(String::as_str).context("no such client namespace")
    }

    /// Returns the address that a client's packets come from.
    pub fn client_address(place: u8) -> IpAddr {
        Ipv4Addr::new(10, 77, FIRST_CLIENT_NET.saturating_add(place), 2).into()
    }

    /// Sets the one-way delay of a client's network, both ways, so that a round trip takes twice as long.
    ///
    /// Where the kernel has no netem, the veth pair is replaced by a wire of the harness, and connections break.
    pub fn delay(&mut self, place: usize, one_way: Duration) -> Result<()> {
        if let Some(wire) = self.wires.get(&place) {
            wire.set_delay(one_way);
            return Ok(());
        }
        let client = self.client(place)?;
        let ends = [(client, "eth0".to_owned()), (self.server(), format!("eth{place}"))];
        if netem(&ends, one_way).is_ok() {
            return Ok(());
        }
        run_args("ip", ["-n", client, "link", "del", "eth0"])?;
        let wire = DelayedWire::lay(ends.map(|(name, device)| (name.to_owned(), device)), one_way)?;
        self.wires.insert(place, wire);
        self.address(place)
    }

    /// Leaves the namespaces in place when this value is dropped, for [`sweep`] to find later.
    pub fn leave(&mut self) {
        self.owned = false;
    }

    fn make_server(&self) -> Result<()> {
        let server = &self.server;
        run_args("ip", ["netns", "add", server])?;
        let mut lines = String::from("link set lo up\naddr add 10.77.0.10/32 dev lo\n");
        for host in HOSTS {
            let v4 = address_of(host).context("too many hosts")?;
            let v6 = address_v6_of(host).context("too many hosts")?;
            writeln!(lines, "addr add {v4}/32 dev lo\naddr add {v6}/128 dev lo nodad")?;
        }
        batch(server, &lines)
    }

    fn make_client(&self, place: usize) -> Result<()> {
        let client = self.client(place)?;
        run_args("ip", ["netns", "add", client])?;
        batch(client, "link set lo up\n")?;
        let (server, device) = (self.server(), format!("eth{place}"));
        let peer = ["peer", "name", &device, "netns", server];
        run_args(
            "ip",
            ["-n", client, "link", "add", "eth0", "type", "veth"].into_iter().chain(peer),
        )?;
        self.address(place)
    }

    /// Gives both ends of a client's link their addresses, and the client its way to the server.
    fn address(&self, place: usize) -> Result<()> {
        let net = place.saturating_add(FIRST_CLIENT_NET.into());
        let end = |device: &str, last: u8| {
            format!(
                "addr add 10.77.{net}.{last}/30 dev {device}\n\
                 addr add 2001:db8:77:{net}::{last}/64 dev {device} nodad\nlink set {device} up\n"
            )
        };
        batch(self.server(), &end(&format!("eth{place}"), 1))?;
        let routes = format!(
            "route add 10.77.0.0/24 via 10.77.{net}.1\nroute add 2001:db8:77::/64 via 2001:db8:77:{net}::1\n"
        );
        batch(self.client(place)?, &(end("eth0", 2) + &routes))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if self.owned {
            self.clients.iter().chain([&self.server]).for_each(|name| remove(name));
        }
    }
}

fn netem(ends: &[(&str, String)], one_way: Duration) -> Result<()> {
    let micros = format!("{}us", one_way.as_micros());
    for (namespace, device) in ends {
        let place = ["-n", namespace, "qdisc", "replace", "dev", device, "root"];
        run_args("tc", place.into_iter().chain(["netem", "delay", &micros, "limit", "100000"]))?;
    }
    Ok(())
}

/// Builds a command that runs `program` inside a namespace, with its `/etc/hosts` and `/etc/resolv.conf`.
pub fn command_in(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Moves the calling thread into a namespace; threads it starts later are born there.
pub fn enter(namespace: &str) -> Result<()> {
    let handle = File::open(Path::new("/run/netns").join(namespace))
        .with_context(|| format!("opening the namespace {namespace}"))?;
    move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering the namespace {namespace}"))
}

/// Removes namespaces that labs of ended processes left behind; returns their names.
pub fn sweep() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let orphans: Vec<String> = names.filter(|name| is_orphan(name)).collect();
    for name in &orphans {
        remove(name);
    }
    orphans
}

fn is_orphan(name: &str) -> bool {
    let Some((pid, _)) = name.strip_prefix("tg").and_then(|rest| rest.split_once('n')) else {
        return false;
    };
    pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

fn remove(name: &str) {
    // Clean-up goes on past a part that was never made.
    drop(run_args("ip", ["netns", "del", name]));
    drop(fs::remove_dir_all(names_folder(name)));
}

fn names_folder(namespace: &str) -> PathBuf {
    Path::new("/etc/netns").join(namespace)
}

fn write_names(namespace: &str, options: &Options) -> Result<()> {
    let folder = names_folder(namespace);
    fs::create_dir_all(&folder).context("making the namespace's folder in /etc/netns")?;
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
    if options.names == Names::Hosts {
        for host in HOSTS {
            if options.ipv6
                && let Some(v6) = address_v6_of(host)
            {
                writeln!(hosts, "{v6} {host}")?;
            }
            if let Some(v4) = address_of(host) {
                writeln!(hosts, "{v4} {host}")?;
            }
        }
    }
    fs::write(folder.join("hosts"), hosts).context("writing the namespace's hosts")?;
    let resolver = match options.names {
        // Nothing listens there: a name that is not in the file fails at once.
        Names::Hosts => "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n".to_owned(),
        Names::Dns => format!("nameserver {DNS_ADDRESS}\noptions timeout:2 attempts:2\n"),
        Names::DnsOverTcp => {
            format!("nameserver {DNS_ADDRESS}\noptions use-vc timeout:2 attempts:2\n")
        }
    };
    fs::write(folder.join("resolv.conf"), resolver).context("writing the namespace's resolv.conf")
}

/// Runs many `ip` lines in one process: a lab is up in a fraction of the time.
fn batch(namespace: &str, lines: &str) -> Result<()> {
    let folder = crate::harness::temp_folder("ip")?;
    let file = folder.path().join("batch");
    fs::write(&file, lines).context("writing commands for ip")?;
    run_args("ip", [Path::new("-n"), Path::new(namespace), Path::new("-batch"), &file]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_one_address_of_each_family() {
        let mut seen = std::collections::HashSet::new();
        for host in HOSTS {
            assert!(seen.insert(IpAddr::from(address_of(host).unwrap())));
            assert!(seen.insert(IpAddr::from(address_v6_of(host).unwrap())));
        }
        assert_eq!(address_of("api.elsewhere.example"), None);
    }

    #[test]
    fn only_names_of_ended_processes_are_orphans() {
        const CASES: &[(&str, bool)] =
            &[("tg4294967295n0s", true), ("tg1n0s", false), ("cni-1234", false), ("tgxn0", false)];
        for (name, orphan) in CASES {
            assert_eq!(is_orphan(name), *orphan, "{name}");
        }
    }
}
