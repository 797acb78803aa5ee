//! A gate that stands in the kernel comes in; what it refused goes out as events, and refused connections are cut.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use sensor_common::gate::{
    EVENT_KILL, EVENT_REFUSED, GateEvent, LAYER_CHANGE, LAYER_CONTENT, LAYER_NAME, LAYER_OPAQUE,
};
use zerocopy::FromBytes;

use crate::bpf::{GateMaps, Ring, folder_of};
use crate::config::Config;
use crate::enforce;
use crate::provider::Catalogue;
use crate::report::Event;
use crate::report::event::{Decision, Process, Server};
use crate::workload::Table as Workloads;

use super::catalogues::Catalogues;
use super::clock::Clock;
use super::status::Status;
use super::uncalled::Refused;
use super::{SLEEP, gate, kill, threads};

/// Events of the gate taken in one round; the ring keeps the others.
const EVENTS_PER_ROUND_MAX: usize = 4096;
/// `EACCES` (asm-generic/errno-base.h).
const EACCES: u32 = 13;
/// Layers that refuse a write on an open connection.
const ON_OPEN: [u32; 4] = [LAYER_NAME, LAYER_CONTENT, LAYER_CHANGE, LAYER_OPAQUE];

/// Tells what the gate does.
pub(super) struct Watch {
    standing: Option<(GateMaps, Ring)>,
    catalogues: Arc<Catalogues>,
    workloads: Arc<Mutex<Workloads>>,
    folder: PathBuf,
    status: Arc<Status>,
    refused: Arc<Refused>,
    clock: Clock,
}

impl Watch {
    /// Looks at the gate of the configuration, or at one that a panic puts in place.
    pub(super) fn new(
        config: &Config,
        catalogues: &Arc<Catalogues>,
        workloads: Arc<Mutex<Workloads>>,
        (status, refused): (Arc<Status>, Arc<Refused>),
    ) -> Self {
        let folder = folder_of(&config.enforce.pins);
        let catalogues = Arc::clone(catalogues);
        Self {
            standing: None,
            catalogues,
            workloads,
            folder,
            status,
            refused,
            clock: Clock::of_machine(),
        }
    }

    /// Tells what the gate does until the agent stops.
    pub(super) fn run(mut self, events: &SyncSender<Event>, stop: &AtomicBool) {
        // Who is refused may wait for the end of a connection, and who is to be killed goes on.
        threads::hurry();
        while !stop.load(Ordering::Relaxed) {
            self.look();
            self.round(events);
            match &self.standing {
                Some((_, ring)) => {
                    ring.wait(Some(SLEEP));
                }
                None => std::thread::sleep(SLEEP),
            }
        }
    }

    /// Finds the gate where it stands, and forgets it where it does not.
    fn look(&mut self) {
        if !gate::stands(&self.folder) {
            self.standing = None;
        } else if self.standing.is_none() {
            let opened = GateMaps::open(&self.folder)
                .and_then(|maps| Ok((maps, GateMaps::events(&self.folder)?)));
            match opened {
                Ok(opened) => self.standing = Some(opened),
                // A command is just putting it in place.
                Err(error) => tracing::debug!(error = %super::chain(&error), "no gate yet"),
            }
        }
    }

    fn round(&mut self, events: &SyncSender<Event>) {
        let Some((maps, mut ring)) = self.standing.take() else { return };
        let (mut refused, mut condemned) = (HashSet::new(), HashMap::new());
        for _ in 0..EVENTS_PER_ROUND_MAX {
            let Some(bytes) = ring.take() else { break };
            let Ok((event, _)) = GateEvent::read_from_prefix(&bytes) else { continue };
            if enforce::is_own_class(event.class) {
                // A proof that was refused, as it should be.
                continue;
            }
            if refuses_on_open(&event) {
                self.refused.note(event.cookie);
                refused.insert((event.cookie, event.tgid));
            }
            let mut decision = self.decision(&event, &maps);
            if event.flags & EVENT_KILL != 0 {
                // Once for all that it tried meanwhile.
                let at = condemned.entry(event.tgid).or_insert(event.at_ns);
                *at = event.at_ns.min(*at);
                decision.decision = "kill";
            }
            if events.try_send(Event::Decision(decision)).is_err() {
                self.status.decision_not_told();
            }
        }
        for (pid, at_ns) in condemned {
            if kill::kill(self.clock, pid, self.clock.wall(at_ns)) {
                self.status.killed();
            }
        }
        if !refused.is_empty() {
            // Node does not tell its caller of a handshake that could not be written, and would wait for its own timeout.
            let sockets: Vec<_> = refused.into_iter().collect();
            let done = enforce::cut(&sockets);
            self.status.refused_cut(done.cut);
        }
        self.standing = Some((maps, ring));
    }

    fn decision(&self, event: &GateEvent, maps: &GateMaps) -> Decision {
        let refused = event.flags & EVENT_REFUSED != 0;
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let workload = workloads.attribute(event.tgid, None, event.at_ns);
        drop(workloads);
        let reason = enforce::reason_words(event.reason)
            .map(str::to_owned)
            .or_else(|| maps.words(event.reason))
            .unwrap_or_else(|| event.reason.to_string());
        Decision {
            time: self.clock.wall(event.at_ns),
            process: Process { pid: Some(event.tgid), started: None, workload },
            server: Server { name: None, peer: peer(event) },
            provider: provider(&self.catalogues.now(), maps.whole(event.destination)),
            decision: if refused { "deny" } else { "unseen" },
            ruling: None,
            enforced: refused,
            layer: enforce::layer_word(event.layer),
            error: refused.then_some(if event.errno == EACCES { "EACCES" } else { "EPERM" }),
            reason,
            bytes_sent: event.sent,
        }
    }
}

/// Whether a connection that has come about was refused a write. One that was refused at its start never ends.
fn refuses_on_open(event: &GateEvent) -> bool {
    event.flags & EVENT_REFUSED != 0 && ON_OPEN.contains(&event.layer)
}

/// The provider that a destination stands for, by the name that its calls carry: policies know it by that one.
fn provider(catalogue: &Catalogue, destination: u32) -> Option<String> {
    let mut rows = catalogue.providers().iter();
    rows.find(|row| enforce::destination(&row.id) == destination).map(|row| row.name.clone())
}

fn peer(event: &GateEvent) -> Option<SocketAddr> {
    let port = u16::try_from(event.remote_port).ok().filter(|port| *port != 0)?;
    let address = match event.family {
        2 => IpAddr::V4(Ipv4Addr::from(*event.remote_address.first_chunk::<4>()?)),
        10 => IpAddr::V6(Ipv6Addr::from(event.remote_address)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use sensor_common::gate::LAYER_ADDRESS;
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn only_what_was_refused_on_an_open_connection_is_noted_for_its_end() {
        let cases = [
            (EVENT_REFUSED, LAYER_NAME, true),
            (EVENT_REFUSED, LAYER_ADDRESS, false),
            (0, LAYER_OPAQUE, false),
        ];
        for (flags, layer, noted) in cases {
            let event = GateEvent { flags, layer, ..GateEvent::new_zeroed() };
            assert_eq!(refuses_on_open(&event), noted, "{flags} {layer}");
        }
    }

    #[test]
    fn refused_provider_has_the_name_that_its_calls_carry() {
        let catalogue = Catalogue::bundled().unwrap();
        for (row, name) in
            [("bedrock", "aws.bedrock"), ("chatgpt", "openai"), ("anthropic", "anthropic")]
        {
            let found = provider(&catalogue, enforce::destination(row));
            assert_eq!(found.as_deref(), Some(name), "{row}");
        }
        for host in catalogue.ai_hosts() {
            let called = provider(&catalogue, enforce::destination(&host.provider.id));
            assert_eq!(called.as_ref(), Some(&host.provider.name));
        }
        assert_eq!(provider(&catalogue, 0), None);
    }
}
