//! The configuration comes in; the gate is put in place, proven, and what it does is told as events.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use sensor_common::gate::{EVENT_REFUSED, GateEvent};
use zerocopy::FromBytes;

use crate::bpf::{Gate, GateMaps, Kernel, Ring, cgroup, folder_of};
use crate::config::Config;
use crate::credential::FleetKey;
use crate::enforce;
use crate::enforce::{Enforcer, Health, Orders};
use crate::provider::Catalogue;
use crate::report::event::{Decision, Process, Server};
use crate::report::{Event, Metrics};
use crate::workload::Table as Workloads;

use super::clock::Clock;

/// Events of the gate told in one round; the ring keeps the others.
const EVENTS_PER_ROUND_MAX: usize = 4096;
/// Rounds (seconds) between two proofs that the gate refuses.
const ROUNDS_PER_PROOF: u32 = 60;
/// `EACCES` (asm-generic/errno-base.h).
const EACCES: u32 = 13;

/// Tells what the gate does, and whether it still does it.
pub(super) struct Watch {
    maps: GateMaps,
    ring: Ring,
    providers: HashMap<u32, String>,
    workloads: Arc<Mutex<Workloads>>,
    rounds: u32,
    faults: Vec<String>,
}

/// Where the hosts of the catalogue lead; a host that carries other traffic too is left to its content.
fn hosts(catalogue: &Catalogue) -> impl Iterator<Item = (&str, &str)> {
    let hosts = catalogue.ai_hosts().filter(|host| !host.mixed);
    hosts.map(|host| (host.pattern, host.provider.id.as_str()))
}

/// The orders of the configuration.
fn orders(config: &Config, catalogue: &Catalogue) -> anyhow::Result<Orders> {
    Ok(Orders::read(&config.enforce.orders, hosts(catalogue))?)
}

/// Loads the gate, tells it its orders, attaches it beside what an agent before has left, and takes other versions away.
fn start(
    config: &Config,
    catalogue: &Catalogue,
    key: &FleetKey,
) -> anyhow::Result<(Gate, Enforcer)> {
    let pins = &config.enforce.pins;
    let gate = Gate::load(pins).context("loading the gate")?;
    let mut enforcer = Enforcer::new(&gate, key.expose())?;
    let applied = enforcer.apply(&orders(config, catalogue)?).context("applying the orders")?;
    gate.attach().context("attaching the gate")?;
    for (pid, start) in gate.probed() {
        if !Path::new("/proc").join(pid.to_string()).exists() {
            gate.detach_probes((pid, start));
        }
    }
    for entry in fs::read_dir(pins).into_iter().flatten().flatten() {
        if entry.path() != gate.folder() {
            tracing::warn!(
                pins = %entry.path().display(),
                "the gate of another version is replaced: this one stands already"
            );
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
    tracing::info!(written = applied.written, removed = applied.removed, "the gate stands");
    Ok((gate, enforcer))
}

/// Starts the gate where something is enforced, and has the kernel half take it along.
pub(super) fn put_in_place(
    config: &Config,
    catalogue: &Catalogue,
    key: &FleetKey,
    kernel: &mut Kernel,
) -> anyhow::Result<Option<Enforcer>> {
    if !config.enforce.enabled {
        return Ok(None);
    }
    let (gate, enforcer) = start(config, catalogue, key)?;
    kernel.set_gate(gate);
    Ok(Some(enforcer))
}

impl Watch {
    /// Looks at the gate, where something is enforced.
    pub(super) fn of(
        config: &Config,
        catalogue: &Catalogue,
        workloads: &Arc<Mutex<Workloads>>,
    ) -> anyhow::Result<Option<Self>> {
        if !config.enforce.enabled {
            return Ok(None);
        }
        Self::new(&config.enforce.pins, catalogue, Arc::clone(workloads)).map(Some)
    }

    /// Looks at a gate that stands.
    fn new(
        pins: &Path,
        catalogue: &Catalogue,
        workloads: Arc<Mutex<Workloads>>,
    ) -> anyhow::Result<Self> {
        let folder = folder_of(pins);
        let providers = catalogue
            .providers()
            .iter()
            .map(|provider| (enforce::destination(&provider.id), provider.id.clone()))
            .collect();
        Ok(Self {
            maps: GateMaps::open(&folder)?,
            ring: GateMaps::events(&folder)?,
            providers,
            workloads,
            rounds: 0,
            faults: Vec::new(),
        })
    }

    /// Tells what the gate did since the last round; returns why it does not enforce, if it does not.
    pub(super) fn round(
        &mut self,
        metrics: &Metrics,
        events: &SyncSender<Event>,
        clock: &Clock,
    ) -> &[String] {
        for (name, count) in self.maps.counts() {
            metrics.set_stage_event("gate", name, count);
        }
        for _ in 0..EVENTS_PER_ROUND_MAX {
            let taken = self
                .ring
                .take()
                .map(|bytes| GateEvent::read_from_prefix(&bytes).ok().map(|(event, _)| event));
            let Some(event) = taken else { break };
            let Some(event) = event else { continue };
            let decision = self.decision(&event, clock);
            if events.try_send(Event::Decision(decision)).is_err() {
                metrics.set_stage_event("gate", "decision_not_told", 1);
            }
        }
        if self.rounds == 0 {
            self.faults = match Health::probe(&mut self.maps) {
                Ok(health) => health.faults(),
                Err(error) => vec![format!("enforcement: {}", super::chain(&error))],
            };
            for fault in &self.faults {
                tracing::error!(fault, "this node does not enforce");
            }
        }
        self.rounds = self.rounds.saturating_add(1).checked_rem(ROUNDS_PER_PROOF).unwrap_or(0);
        &self.faults
    }

    fn decision(&self, event: &GateEvent, clock: &Clock) -> Decision {
        let refused = event.flags & EVENT_REFUSED != 0;
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let workload = workloads.attribute(event.tgid, None, event.at_ns);
        drop(workloads);
        let reason = enforce::reason_words(event.reason)
            .map(str::to_owned)
            .or_else(|| self.maps.words(event.reason))
            .unwrap_or_else(|| event.reason.to_string());
        Decision {
            time: clock.wall(event.at_ns),
            process: Process { pid: Some(event.tgid), started: None, workload },
            server: Server { name: None, peer: peer(event) },
            provider: self.providers.get(&event.destination).cloned(),
            decision: if refused { "deny" } else { "unseen" },
            enforced: refused,
            layer: enforce::layer_word(event.layer),
            error: refused.then_some(if event.errno == EACCES { "EACCES" } else { "EPERM" }),
            reason,
            bytes_sent: event.sent,
        }
    }
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

/// Has the calls of a process judged, where its class says so; gives its start then.
pub(super) fn admit(enforcer: &mut Enforcer, pid: u32) -> Result<Option<u64>, enforce::Error> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let (Some(path), Some(root)) = (path, cgroup::root_path()) else { return Ok(None) };
    if !enforcer.admit(pid, &root.join(path))? {
        return Ok(None);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): field 22, of which the first two end with the last parenthesis.
    let start = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19));
    Ok(Some(start.and_then(|start| start.parse().ok()).unwrap_or(0)))
}

/// The maps of the gate for a command; where no gate stands, one is put in place that knows the catalogue.
pub(super) fn maps(config: &Config) -> anyhow::Result<GateMaps> {
    let folder = folder_of(&config.enforce.pins);
    if !folder.join("link_gate_state").exists() {
        let catalogue = Catalogue::bundled()?;
        let gate = Gate::load(&config.enforce.pins).context("loading the gate")?;
        let mut maps = GateMaps::open(gate.folder())?;
        for (key, destination) in Orders::of_hosts(hosts(&catalogue)).names {
            maps.set_name(key, Some(destination))?;
        }
        gate.attach().context("attaching the gate")?;
    }
    Ok(GateMaps::open(&folder)?)
}
