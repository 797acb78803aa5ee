//! A loaded gate comes in; connections of the agent's own that must be refused say which layers really refuse.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use sensor_common::gate::{
    ACTION_DENY, ADDRESS_EXCLUSIVE, Address, RULE_DESTINATION, RuleKey, SCOPE_ENFORCED, Subject,
    Verdict,
};

use crate::bpf::GateMaps;
use crate::enforce::Error;

use super::words;

/// Name and address that lead nowhere but to a refusal.
const NAME: &str = "probe.tollgate.invalid";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 84, 71, 1);
/// Class of the agent itself.
const CLASS: &str = "tollgate probe";
/// Time in which a loopback connection is made.
const DEADLINE: Duration = Duration::from_secs(1);

/// A layer that can be proven from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// By the address, at `connect`.
    Address,
    /// By the name, at the ClientHello.
    Name,
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
            Self::Address => "address",
            Self::Name => "name",
        }
    }
}

impl Health {
    /// Tries every layer with connections of this process.
    pub fn probe(maps: &mut GateMaps) -> Result<Self, Error> {
        let class = words::class(CLASS);
        let leads = words::destination(NAME);
        let own = std::process::id();
        let key = RuleKey { class, kind: RULE_DESTINATION, value: [u64::from(leads), 0] };
        let verdict =
            Verdict { action: ACTION_DENY, reason: words::reason(CLASS), ..Verdict::default() };
        maps.set_words(words::reason(CLASS), CLASS)?;
        maps.set_rule(key, Some(verdict))?;
        maps.set_scope(class, Some(SCOPE_ENFORCED))?;
        let address = Address { destination: leads, flags: ADDRESS_EXCLUSIVE };
        maps.set_address(IpAddr::V4(ADDRESS), address)?;
        if let Some(name) = words::name(NAME) {
            maps.set_name(name, Some(leads))?;
        }
        let before = maps.switches(crate::bpf::Owner::Agent)?;
        let on = sensor_common::gate::Switches { active: 1, ..before };
        maps.set_switches(crate::bpf::Owner::Agent, on)?;
        maps.set_process(own, Some(Subject { class, ..Subject::default() }))?;
        let proofs = vec![
            Proof { layer: Layer::Address, fault: address_fault() },
            Proof { layer: Layer::Name, fault: name_fault() },
        ];
        maps.set_process(own, None)?;
        maps.set_switches(crate::bpf::Owner::Agent, before)?;
        maps.set_scope(class, None)?;
        maps.set_rule(key, None)?;
        Ok(Self { proofs })
    }

    /// Layers that do not refuse, with why.
    pub fn faults(&self) -> Vec<String> {
        let fault = |proof: &Proof| {
            Some(format!("enforcement by {}: {}", proof.layer.as_str(), proof.fault.as_deref()?))
        };
        self.proofs.iter().filter_map(fault).collect()
    }
}

fn refused(outcome: io::Result<()>, wanted: io::ErrorKind) -> Option<String> {
    match outcome {
        Err(error) if error.kind() == wanted => None,
        Err(error) => Some(format!("the probe failed otherwise: {error}")),
        Ok(()) => Some("the probe was not refused".to_owned()),
    }
}

fn address_fault() -> Option<String> {
    let outcome = TcpStream::connect_timeout(&SocketAddr::from((ADDRESS, 443)), DEADLINE);
    refused(outcome.map(drop), io::ErrorKind::PermissionDenied)
}

fn name_fault() -> Option<String> {
    let outcome = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.write_all(&hello())
    };
    refused(outcome(), io::ErrorKind::PermissionDenied)
}

/// A ClientHello that carries nothing but the name (RFC 8446, 4.1.2; RFC 6066, 3).
fn hello() -> Vec<u8> {
    let sized = |bytes: Vec<u8>| {
        let length = u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        [length.to_vec(), bytes].concat()
    };
    let entry = [vec![0], sized(NAME.as_bytes().to_vec())].concat();
    let extension = [vec![0, 0], sized(sized(entry))].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(extension));
    let message = [vec![1, 0], sized(body)].concat();
    [vec![0x16, 3, 1], sized(message)].concat()
}
