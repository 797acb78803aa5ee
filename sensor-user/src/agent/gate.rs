//! The configuration comes in; the gate is put in place, or taken away where nothing is enforced.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, bail};

use crate::bpf::{Gate, GateMaps, Kernel, cgroup, folder_of, has_lasting_probes};
use crate::config::Config;
use crate::credential::FleetKey;
use crate::enforce;
use crate::enforce::{Enforcer, Leads, Orders, Panic};
use crate::policy::Set;
use crate::provider::Catalogue;

use super::clock::Clock;

/// Marks a gate that a panic has put in place: it goes with the last panic. A folder, as the bpf file system takes no file.
const BY_PANIC: &str = "by_panic";

/// What is known of destinations without policies, and nothing that anybody is told.
fn places(catalogue: &Catalogue) -> Orders {
    Orders::of_leads(&Leads::new(catalogue, &Set::default()))
}

/// The orders of the configuration's file, whose text was read at the start.
pub(super) fn orders(config: &Config, text: &str, catalogue: &Catalogue) -> anyhow::Result<Orders> {
    Ok(places(catalogue).read(text, &config.enforce.orders)?)
}

/// Loads the gate, tells it its orders, attaches it beside what an agent before has left, and takes other versions away.
fn start(
    config: &Config,
    (catalogue, text): (&Catalogue, &str),
    key: &FleetKey,
) -> anyhow::Result<(Gate, Enforcer)> {
    let pins = &config.enforce.pins;
    let gate = Gate::load(pins).context("loading the gate")?;
    let mut enforcer = Enforcer::new(&gate, key.expose())?;
    if config.policy.folder.as_os_str().is_empty() {
        let orders = orders(config, text, catalogue)?;
        let applied = enforcer.apply(&orders).context("applying the orders")?;
        tracing::info!(written = applied.written, removed = applied.removed, "the gate is told");
    }
    gate.attach().context("attaching the gate")?;
    for (pid, start) in gate.probed() {
        if !Path::new("/proc").join(pid.to_string()).exists() {
            gate.detach_probes((pid, start));
        }
    }
    prove_content(&gate)?;
    // From now on it is the agent's.
    let _mark = fs::remove_dir(gate.folder().join(BY_PANIC));
    for entry in fs::read_dir(pins).into_iter().flatten().flatten() {
        if entry.path() != gate.folder() {
            tracing::warn!(
                pins = %entry.path().display(),
                "the gate of another version is replaced: this one stands already"
            );
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
    tracing::info!(pins = %gate.folder().display(), "the gate stands");
    Ok((gate, enforcer))
}

/// Sets the gate's probes on the functions of the agent by which judging is proven.
fn prove_content(gate: &Gate) -> anyhow::Result<()> {
    let places = enforce::places().context("finding the functions of the proofs")?;
    let file = fs::File::open(&places.file).context("opening the agent's own file")?;
    let own = (std::process::id(), start_of(std::process::id()));
    for (program, offset) in places.offsets {
        // An older kernel has no such probes; the proofs then say so.
        gate.attach_probe(program, file.as_fd(), offset, own)?;
    }
    Ok(())
}

/// Start of a process in ticks; 0 where it is gone.
pub(super) fn start_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): field 22, of which the first two end with the last parenthesis.
    let start = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19));
    start.and_then(|start| start.parse().ok()).unwrap_or(0)
}

/// Starts the gate where something is enforced, with orders of this text, and has the kernel half take it along.
pub(super) fn put_in_place(
    config: &Config,
    (catalogue, text): (&Catalogue, &str),
    key: &FleetKey,
    kernel: &mut Kernel,
) -> anyhow::Result<Option<Enforcer>> {
    if !config.enforce.enabled {
        take_away_unless_panic(&config.enforce.pins);
        return Ok(None);
    }
    let (gate, enforcer) = start(config, (catalogue, text), key)?;
    kernel.set_gate(gate);
    Ok(Some(enforcer))
}

/// Puts a process into the class of its cgroup, where that has one whose content is judged.
pub(super) fn admit(enforcer: &mut Enforcer, pid: u32) -> Result<(), enforce::Error> {
    let Some(cgroup) = cgroup::path_of(pid) else { return Ok(()) };
    enforcer.admit(pid, &cgroup)
}

/// Whether requests can be judged on this machine: only the gate of an agent has the probes for that.
pub(super) fn check_judging(config: &Config) -> anyhow::Result<()> {
    let folder = folder_of(&config.enforce.pins);
    if !stands(&folder) || folder.join(BY_PANIC).exists() {
        bail!(
            "no agent enforces here, so nobody's requests are judged by key or model: set `enforce.enabled`, or put a panic on a provider or on everything"
        );
    }
    if !has_lasting_probes() {
        bail!("requests are judged by key or model from Linux 6.10 on: put a panic on a provider");
    }
    Ok(())
}

/// Whether maps of a gate are in a folder; its links are another matter.
pub(super) fn stands(folder: &Path) -> bool {
    folder.join("SWITCHES").exists()
}

/// Takes a gate away that nobody asked for, unless a panic is in force by it.
pub(super) fn take_away_unless_panic(pins: &Path) {
    let folder = folder_of(pins);
    if !pins.exists() {
        return;
    }
    let panic = GateMaps::open(&folder).is_ok_and(|maps| {
        Panic::all(&maps).iter().any(|panic| panic.until_ns > Clock::monotonic_ns())
    });
    if panic {
        tracing::warn!("a panic is in force although nothing else is enforced");
        return;
    }
    match fs::remove_dir_all(pins) {
        Ok(()) => tracing::warn!(pins = %pins.display(), "nothing is enforced: the gate is gone"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::error!(%error, "the gate could not be taken away"),
    }
}

/// The maps of the gate for a command, if one stands.
pub(super) fn maps(config: &Config) -> anyhow::Result<Option<GateMaps>> {
    let folder = folder_of(&config.enforce.pins);
    if !stands(&folder) {
        return Ok(None);
    }
    Ok(Some(GateMaps::open(&folder)?))
}

/// The maps of the gate; where none stands, one is put in place that knows the catalogue.
pub(super) fn maps_or_new(config: &Config, catalogue: &Catalogue) -> anyhow::Result<GateMaps> {
    let folder = folder_of(&config.enforce.pins);
    let is_new = !stands(&folder);
    if !is_new && Gate::missing_links(&folder).is_empty() {
        return Ok(GateMaps::open(&folder)?);
    }
    let gate = Gate::load(&config.enforce.pins).context("loading the gate")?;
    if is_new {
        fs::create_dir_all(folder.join(BY_PANIC)).context("marking the gate as a panic's")?;
    }
    let mut maps = GateMaps::open(gate.folder())?;
    let places = places(catalogue);
    for (key, destination) in places.names {
        maps.set_name(key, Some(destination))?;
    }
    for (key, verdict) in places.rules {
        maps.set_rule(key, Some(verdict))?;
    }
    gate.attach().context("attaching the gate")?;
    Ok(maps)
}

/// Takes a gate away that a panic has put in place, once none is in force.
pub(super) fn leave_nothing(config: &Config) {
    if folder_of(&config.enforce.pins).join(BY_PANIC).exists() {
        take_away_unless_panic(&config.enforce.pins);
    }
}

/// Another hand on the maps of the gate that this agent has put in place.
pub(super) fn enforcer_of(config: &Config) -> anyhow::Result<Enforcer> {
    Ok(Enforcer::of(GateMaps::open(&folder_of(&config.enforce.pins))?))
}
