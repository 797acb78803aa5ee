//! The configuration comes in; every stage, ready to run, goes out.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use bytes::BytesMut;
use jiff::Timestamp;

use crate::bpf::Hurry;
use crate::bpf::{Counters, Kernel, ProbeLink, Ring, Settings, give_memory_back};
use crate::config::Config;
use crate::credential::Keyring;
use crate::probes::offsets::Offsets;
use crate::probes::search::Searcher;
use crate::probes::{Planner, Registry};
use crate::reassembly::Table;
use crate::report::{Event, event};
use crate::spend::{Prices, Repeats};
use crate::workload;
use crate::workload::runtime::Index;

use super::aside::open_memory;
use super::blind::Blind;
use super::catalogues::Catalogues;
use super::clock::Clock;
use super::connection::Shared;
use super::counted::Counted;
use super::coverage::Models;
use super::fleet_key::fleet_key;
use super::gate;
use super::intent::Intent;
use super::listening::Listening;
use super::notice::{FromPipeline, ToPipeline};
use super::open_hosts::OpenHosts;
use super::openings::Openings;
use super::pipeline::Pipeline;
use super::policies::Policies;
use super::ruling::Ruling;
use super::stacks::Stacks;
use super::status::Status;
use super::uncalled::Refused;
use super::watch::Watch;

/// TLS libraries resolved before the first process needs them, by their usual places.
const WELL_KNOWN: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/libssl.so.3",
    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
    "/usr/lib/aarch64-linux-gnu/libssl.so.3",
    "/usr/lib/aarch64-linux-gnu/libcrypto.so.3",
    "/usr/bin/node",
    "/usr/local/bin/node",
];

/// Longest wait for what container runtimes list, at the start of an agent that enforces.
const FIRST_LISTS: Duration = Duration::from_secs(3);

/// The sending ends of all channels.
pub(super) type Senders = (
    SyncSender<Event>,
    SyncSender<ToPipeline>,
    SyncSender<FromPipeline>,
    SyncSender<Vec<ProbeLink>>,
);

/// Everything that the threads own.
pub(super) struct Stages {
    pub(super) intent: Intent,
    pub(super) pipeline: Pipeline,
    pub(super) event_ring: Ring,
    pub(super) data_ring: Ring,
    pub(super) counters: Counters,
    pub(super) diagnostics: Box<dyn FnMut()>,
    pub(super) watch: Watch,
    pub(super) ruling: Ruling,
    pub(super) policies: Arc<Policies>,
    pub(super) status: Arc<Status>,
    pub(super) config: Arc<Config>,
}

/// Makes the folder for what outlives the agent, for its owner alone.
pub fn make_state_folder(config: &Config) -> anyhow::Result<()> {
    let state = &config.files.state;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| format!("making the state folder {}", state.display()))
}

/// Makes every stage; nothing is attached to a process yet.
#[expect(clippy::too_many_lines, reason = "one stage after the other; parts would hide the order")]
pub(super) fn stages(
    config: Config,
    (events, pipeline, intent, detached): Senders,
    searcher: Searcher,
    containers: Arc<Index>,
) -> anyhow::Result<Stages> {
    let config = Arc::new(config);
    make_state_folder(&config)?;
    let state = &config.files.state;
    let status = Arc::new(Status::default());
    let learned = open_memory(state, &status)?;
    let catalogues = Arc::new(Catalogues::new(&config.files.providers, &config.capture)?);
    let policies = Arc::new(Policies::new(config.policy.folder.clone(), Arc::clone(&catalogues)));
    policies.add_providers();
    let prices = Prices::bundled()?.with_overrides(&read_optional(&config.files.prices)?)?;
    let fleet_key = fleet_key(&config.files)?;
    let keyring = Keyring::new(fleet_key.clone());
    let settings = Settings {
        data_ring_bytes: config.capture.ring_bytes,
        // Whose calls are judged needs its probes before the handshake is over.
        hold_client_hello: config.capture.hold_client_hello || config.enforce.enabled,
    };
    let mut kernel = Kernel::load(&settings)?;
    if config.capture.expedite_probes {
        kernel.set_hurry(Hurry::new(state));
    }
    let orders = read_optional(&config.enforce.orders)?;
    let known = (&*catalogues.now(), &*orders);
    let enforcer = gate::put_in_place(&config, known, &fleet_key, &mut kernel)?;
    let diagnostics = Box::new(kernel.diagnostics()?);
    catalogues.announce(kernel.names()?)?;
    let (verdicts, processes) = (kernel.verdicts()?, kernel.processes()?);
    let (addresses, programs) = (kernel.addresses()?, kernel.programs()?);
    let openings = Openings::new(kernel.openings()?);
    kernel.attach_machine()?;
    let registry = warm_registry(planner(&config, searcher)?);
    let (event_ring, data_ring, counters) = outlets(&mut kernel)?;
    let workloads = Arc::new(Mutex::new(workload::Table::new(
        workload::Roots::default(),
        config.workload.clone(),
        Arc::clone(&containers),
    )));
    let refused = Arc::new(Refused::default());
    let shared_ends = (Arc::clone(&status), Arc::clone(&refused));
    let watch = Watch::new(&config, &catalogues, Arc::clone(&workloads), shared_ends);
    let open_hosts = Arc::new(OpenHosts::default());
    let mut ruling = Ruling {
        policies: Arc::clone(&policies),
        open_hosts: Arc::clone(&open_hosts),
        enforcer: enforcer.as_ref().map(|_| gate::enforcer_of(&config)).transpose()?,
        catalogues: Arc::clone(&catalogues),
        workloads: Arc::clone(&workloads),
        config: Arc::clone(&config),
        orders,
        clock: Clock::of_machine(),
    };
    if enforcer.is_some() {
        // Who runs already is not to be taken for unknown: what policies say of unknown ones may cut connections.
        containers.wait_first(FIRST_LISTS);
    }
    ruling.start();
    let stacks = Arc::new(Stacks::default());
    let pipeline_stage = Pipeline {
        prices,
        repeats: Repeats::default(),
        keyring,
        verdicts,
        workloads: Arc::clone(&workloads),
        intent,
        events,
        status: Arc::clone(&status),
        stacks: Arc::clone(&stacks),
        clock: Clock::of_machine(),
        shared: shared(&config, &catalogues),
        connections: HashMap::new(),
        parting: VecDeque::new(),
        greetings: HashMap::new(),
        arena: BytesMut::new(),
        refused,
        blind: Blind::default(),
        models: Models::default(),
        policies: Arc::clone(&policies),
        enforces: enforcer.is_some(),
        alarms: if enforcer.is_some() { gate::maps(&config)? } else { None },
    };
    let intent_stage = Intent {
        kernel,
        registry,
        learned,
        enforcer,
        policies: Arc::clone(&policies),
        open_hosts,
        followed: 0,
        catalogues,
        processes,
        addresses,
        programs,
        openings,
        workloads,
        containers,
        detached,
        pipeline,
        status: Arc::clone(&status),
        stacks,
        config: Arc::clone(&config),
        origins: HashMap::new(),
        probation: HashMap::new(),
        waiting: HashMap::new(),
        listening: Listening::default(),
    };
    Ok(Stages {
        intent: intent_stage,
        pipeline: pipeline_stage,
        event_ring,
        data_ring,
        counters,
        diagnostics,
        watch,
        ruling,
        policies,
        status,
        config,
    })
}

/// Maps the rings into memory, after what loading took was given back: the two never add up.
fn outlets(kernel: &mut Kernel) -> anyhow::Result<(Ring, Ring, Counters)> {
    give_memory_back();
    Ok((kernel.event_ring()?, kernel.data_ring()?, kernel.counters()?))
}

/// A planner that knows the builds of its table and of the configuration's.
fn planner(config: &Config, searcher: Searcher) -> anyhow::Result<Planner> {
    let offsets = Offsets::bundled().with(&read_optional(&config.files.tls_offsets)?)?;
    Ok(Planner::new(offsets, Some(searcher)))
}

/// A registry that knows where the functions of the usual TLS libraries are.
fn warm_registry(planner: Planner) -> Registry {
    let mut registry = Registry::new(planner);
    for path in WELL_KNOWN {
        if let Ok(file) = fs::File::open(path) {
            // A library that is missing or odd here is looked at again when a process maps it.
            let _known = registry.planner().plan(&file);
        }
    }
    registry
}

/// What all connections share.
fn shared(config: &Config, catalogues: &Arc<Catalogues>) -> Shared {
    Shared {
        table: Table::new(&config.reassembly),
        catalogues: Arc::clone(catalogues),
        http: config.http.clone(),
        provider: config.provider.clone(),
        pieces: Vec::new(),
        counted: Counted::default(),
    }
}

/// The text of a file, or nothing where no file is configured.
pub(super) fn read_optional(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str().is_empty() {
        return Ok(String::new());
    }
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Release of the running kernel.
pub(super) fn kernel_release() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned())
}

/// What the agent says of itself.
pub(super) fn agent_event(time: Timestamp, state: &'static str) -> event::Agent {
    let (version, kernel) = (env!("CARGO_PKG_VERSION"), kernel_release());
    event::Agent { time, state, message: None, version, kernel }
}
