//! Settings come in; the kernel half is loaded, attached to the machine, and attached to functions of processes.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::RingBuf;
use aya::programs::cgroup_skb::CgroupSkbLink;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError,
};
use aya::programs::{RawTracePoint, SockOps, UProbe};
use aya::{Btf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sensor_common::names;

use super::gate::Gate;
use super::hurry::Hurry;
use super::maps::{AddressMap, Counters, OpeningMap, ProcessMap, ProgramMap, VerdictMap, take};
use super::multi::{MultiPrograms, descriptor_of, is_usable};
use super::name_map::NameMap;
use super::{Error, Ring, abi, btf, cgroup, raw};

/// The kernel half, as built by `cargo xtask build` for this architecture.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TOLLGATE_BPF_OBJECT"));

/// Programs that see every process and socket, with where they attach.
const MACHINE: [(&str, Hook); 7] = [
    ("process_exec", Hook::Tracepoint("sched_process_exec")),
    ("process_fork", Hook::Tracepoint("sched_process_fork")),
    ("process_exit", Hook::Tracepoint("sched_process_exit")),
    ("socket_connect4", Hook::Address),
    ("socket_connect6", Hook::Address),
    ("socket_state", Hook::Socket),
    ("wire_egress", Hook::Packet),
];
/// The program that sees what arrives, for those who need it.
const INGRESS: &str = "wire_ingress";

/// One part in so many of the plaintext ring is kept for headers.
const HEADERS_SHARE: u32 = 8;

#[derive(Clone, Copy)]
enum Hook {
    Tracepoint(&'static str),
    Address,
    Socket,
    Packet,
}

/// What is fixed when the kernel half is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Size of the plaintext ring in bytes, a power of two.
    pub data_ring_bytes: u32,
    /// Whether a first ClientHello to an AI provider is held back until the probes stand.
    pub hold_client_hello: bool,
}

/// A probe that is taken away when it is dropped (slowly: the kernel waits for all its readers).
#[derive(Debug)]
pub struct ProbeLink {
    _held: Held,
    places: usize,
}

impl ProbeLink {
    /// Places at which it holds its program.
    pub fn places(&self) -> usize {
        self.places
    }
}

#[derive(Debug)]
enum Held {
    Perf(#[expect(dead_code, reason = "held for its drop")] UProbeLink),
    Multi(#[expect(dead_code, reason = "held for its drop")] OwnedFd),
}

/// A hook for arriving packets that is taken away when it is dropped.
#[derive(Debug)]
pub struct PacketLink {
    _held: CgroupSkbLink,
}

/// The loaded kernel half.
pub struct Kernel {
    ebpf: Ebpf,
    /// Probe programs for `uprobe_multi` links; `None` where the kernel's are not to be trusted.
    multi: Option<MultiPrograms>,
    /// The gate, and the processes whose calls it judges, with their start.
    gate: Option<(Gate, HashMap<u32, u64>)>,
    hurry: Hurry,
}

fn program_error(step: &'static str, program: &str) -> impl FnOnce(ProgramError) -> Error {
    move |source| Error::Program { step, program: program.to_owned(), source: Box::new(source) }
}

impl Kernel {
    /// Loads every program; nothing is attached yet.
    pub fn load(settings: &Settings) -> Result<Self, Error> {
        abi::check(OBJECT)?;
        // Before Linux 5.11, maps count against the locked memory of the process; a refusal shows when they are made.
        let unlimited = Rlimit { current: None, maximum: None };
        let _older_kernels = setrlimit(Resource::Memlock, unlimited);
        // Each link of a probe is a descriptor; what may not be raised stays.
        let files = getrlimit(Resource::Nofile);
        let _kept = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
        let offsets = btf::task_offsets()?;
        let hold = u32::from(settings.hold_client_hello);
        let payload_room = payload_room(settings.data_ring_bytes);
        let types = Btf::from_sys_fs().map_err(|source| Error::Btf(source.to_string()))?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&types))
            .map_max_entries(names::MAP_DATA, settings.data_ring_bytes)
            .override_global("PAYLOAD_ROOM", &payload_room, true)
            .override_global("HOLD_HELLO", &hold, true)
            .override_global("TASK_GROUP_LEADER", &offsets.group_leader, true)
            .override_global("TASK_START_BOOTTIME", &offsets.start_boottime, true)
            .override_global("TASK_PID", &offsets.pid, true)
            .override_global("TASK_TGID", &offsets.tgid, true)
            .override_global("TASK_SIGNAL", &offsets.signal, true)
            .override_global("SIGNAL_LIVE", &offsets.live, true)
            .load(OBJECT)
            .map_err(|source| Error::Load(Box::new(source)))?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let multi = is_usable(&release).then(|| MultiPrograms::load(OBJECT, &ebpf)).transpose()?;
        for (name, program) in ebpf.programs_mut() {
            if multi.is_none() || !matches!(program, Program::UProbe(_)) {
                load(program).map_err(program_error("loading", name))?;
            }
        }
        let mut kernel = Self { ebpf, multi, gate: None, hurry: Hurry::default() };
        kernel.set_tails()?;
        Ok(kernel)
    }

    fn set_tails(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Raw {
            step: "tail-calling",
            program: names::PROGRAM_COPY.to_owned(),
            source,
        };
        let multi = self.multi.as_ref().and_then(|multi| multi.descriptor(names::PROGRAM_COPY));
        let copy = if let Some(descriptor) = multi {
            descriptor.try_clone_to_owned()
        } else {
            let program = self.uprobe(names::PROGRAM_COPY)?;
            let loaded = program.fd().map_err(program_error("loading", names::PROGRAM_COPY))?;
            loaded.as_fd().try_clone_to_owned()
        };
        let copy = copy.map_err(failed)?;
        // The object keeps the map: the kernel clears a program array when its last user-space handle closes.
        let missing = || Error::Mismatch(format!("it has no map {}", names::MAP_TAILS));
        let tails = self.ebpf.map(names::MAP_TAILS).and_then(descriptor_of).ok_or_else(missing)?;
        raw::set_tail(tails, names::TAIL_COPY, copy.as_fd()).map_err(failed)
    }

    fn uprobe(&mut self, name: &str) -> Result<&mut UProbe, Error> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| Error::Mismatch(format!("it has no program {name}")))?;
        program.try_into().map_err(program_error("loading", name))
    }

    /// Whether probes are `uprobe_multi` links, which are taken away at once.
    pub fn has_multi_links(&self) -> bool {
        self.multi.is_some()
    }

    /// Attaches everything that is not tied to one process.
    pub fn attach_machine(&mut self) -> Result<(), Error> {
        let root = cgroup::root()?;
        for (name, hook) in MACHINE {
            let program = self
                .ebpf
                .program_mut(name)
                .ok_or_else(|| Error::Mismatch(format!("it has no program {name}")))?;
            attach(program, hook, &root).map_err(program_error("attaching", name))?;
        }
        Ok(())
    }

    /// Has packets that arrive for the processes of a cgroup looked at.
    pub fn listen(&mut self, cgroup: &File) -> Result<PacketLink, Error> {
        let failed = || program_error("attaching", INGRESS);
        let missing = || Error::Mismatch(format!("it has no program {INGRESS}"));
        let program = self.ebpf.program_mut(INGRESS).ok_or_else(missing)?;
        let program = <&mut CgroupSkb>::try_from(program).map_err(failed())?;
        let (kind, mode) = (CgroupSkbAttachType::Ingress, CgroupAttachMode::Single);
        let id = program.attach(cgroup, kind, mode).map_err(failed())?;
        let link = program.take_link(id).map_err(failed())?;
        Ok(PacketLink { _held: link })
    }

    /// Attaches `program` at file offsets of an open executable or library, for one process or for all: by one link where
    /// the kernel can, since each one waits for the kernel's readers when it is closed.
    fn attach_program(
        &mut self,
        program: &str,
        file: BorrowedFd<'_>,
        offsets: &[u64],
        pid: Option<u32>,
    ) -> Result<Vec<ProbeLink>, Error> {
        if let (Some(pid), Some((gate, judged))) = (pid, &self.gate)
            && let Some(start) = judged.get(&pid)
        {
            for offset in offsets {
                gate.attach_probe(program, file, *offset, (pid, *start))?;
            }
        }
        if let Some(multi) = &self.multi {
            let link = multi.attach(program, file, offsets, pid)?;
            return Ok(vec![ProbeLink { _held: Held::Multi(link), places: offsets.len() }]);
        }
        offsets.iter().map(|offset| self.attach_one(program, file, *offset, pid)).collect()
    }

    fn attach_one(
        &mut self,
        program: &str,
        file: BorrowedFd<'_>,
        offset: u64,
        pid: Option<u32>,
    ) -> Result<ProbeLink, Error> {
        let scope = pid
            .and_then(NonZeroU32::new)
            .map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        // The open file is named, so that containers, overlays and deleted files work.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let probe = self.uprobe(program)?;
        let id = probe
            .attach(UProbeAttachLocation::AbsoluteOffset(offset), path, scope)
            .map_err(program_error("attaching", program))?;
        let link = probe.take_link(id).map_err(program_error("attaching", program))?;
        Ok(ProbeLink { _held: Held::Perf(link), places: 1 })
    }

    /// Has probes set in a hurry.
    pub fn set_hurry(&mut self, hurry: Hurry) {
        self.hurry = hurry;
    }

    /// Attaches programs at offsets of an open executable or library, for one process or for all.
    pub fn attach_probes(
        &mut self,
        probes: impl Iterator<Item = (&'static str, u64)>,
        file: BorrowedFd<'_>,
        pid: Option<u32>,
    ) -> Result<Vec<ProbeLink>, Error> {
        let mut programs: Vec<(&'static str, Vec<u64>)> = Vec::new();
        for (program, offset) in probes {
            match programs.iter_mut().find(|(known, _)| *known == program) {
                Some((_, offsets)) => offsets.push(offset),
                None => programs.push((program, vec![offset])),
            }
        }
        let _hurried = self.hurry.begin();
        let mut links = Vec::with_capacity(programs.len());
        for (program, offsets) in programs {
            links.extend(self.attach_program(program, file, &offsets, pid)?);
        }
        Ok(links)
    }

    /// Takes the gate along: where a judged process is probed, the gate's programs go as well.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = Some((gate, HashMap::new()));
    }

    /// Has the calls of a process judged; `start` tells it from others of the same id.
    pub fn judge(&mut self, pid: u32, start: u64) {
        if let Some((_, judged)) = &mut self.gate {
            judged.insert(pid, start);
        }
    }

    /// Takes the gate's probes out of a process that has ended.
    pub fn acquit(&mut self, pid: u32) {
        if let Some((gate, judged)) = &mut self.gate
            && let Some(start) = judged.remove(&pid)
        {
            gate.detach_probes((pid, start));
        }
    }

    /// Takes what the kernel half has to say of itself: each call of the result hands it on to the log.
    pub fn diagnostics(&mut self) -> Result<impl FnMut() + use<>, Error> {
        let mut logger = EbpfLogger::init(&mut self.ebpf)
            .map_err(|error| Error::Mismatch(format!("its diagnostics cannot be read: {error}")))?;
        Ok(move || logger.flush())
    }

    /// Takes the ring of plaintext records; once.
    pub fn data_ring(&mut self) -> Result<Ring, Error> {
        take::<RingBuf<_>>(&mut self.ebpf, names::MAP_DATA).map(Ring::new)
    }

    /// Takes the ring of process, socket and name records; once.
    pub fn event_ring(&mut self) -> Result<Ring, Error> {
        take::<RingBuf<_>>(&mut self.ebpf, names::MAP_EVENTS).map(Ring::new)
    }

    /// Takes the verdicts; once.
    pub fn verdicts(&mut self) -> Result<VerdictMap, Error> {
        take(&mut self.ebpf, names::MAP_VERDICTS).map(VerdictMap)
    }

    /// Takes the marks of processes; once.
    pub fn processes(&mut self) -> Result<ProcessMap, Error> {
        take(&mut self.ebpf, names::MAP_PROCESSES).map(ProcessMap)
    }

    /// Takes the sockets whose ClientHello is under way; once.
    pub fn openings(&mut self) -> Result<OpeningMap, Error> {
        take(&mut self.ebpf, names::MAP_OPENINGS).map(OpeningMap)
    }

    /// Takes the names; once.
    pub fn names(&mut self) -> Result<NameMap, Error> {
        take(&mut self.ebpf, names::MAP_NAMES).map(NameMap)
    }

    /// Takes the addresses; once.
    pub fn addresses(&mut self) -> Result<AddressMap, Error> {
        take(&mut self.ebpf, names::MAP_ADDRESSES).map(AddressMap)
    }

    /// Takes the programs' short names; once.
    pub fn programs(&mut self) -> Result<ProgramMap, Error> {
        take(&mut self.ebpf, names::MAP_PROGRAMS).map(ProgramMap)
    }

    /// Takes the counters; once.
    pub fn counters(&mut self) -> Result<Counters, Error> {
        let records = take(&mut self.ebpf, names::MAP_COUNTERS)?;
        Ok(Counters { records, bytes: take(&mut self.ebpf, names::MAP_LOST_BYTES)? })
    }
}

/// Bytes of the plaintext ring that payload may fill.
fn payload_room(ring_bytes: u32) -> u32 {
    ring_bytes.saturating_sub(ring_bytes / HEADERS_SHARE)
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::UProbe(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn attach(program: &mut Program, hook: Hook, root: &File) -> Result<(), ProgramError> {
    // A link (Linux 5.7) always lives beside others; it takes no flags.
    let mode = CgroupAttachMode::Single;
    match hook {
        Hook::Tracepoint(point) => <&mut RawTracePoint>::try_from(program)?.attach(point).map(drop),
        Hook::Address => <&mut CgroupSockAddr>::try_from(program)?.attach(root, mode).map(drop),
        Hook::Socket => <&mut SockOps>::try_from(program)?.attach(root, mode).map(drop),
        Hook::Packet => {
            let kind = CgroupSkbAttachType::Egress;
            <&mut CgroupSkb>::try_from(program)?.attach(root, kind, mode).map(drop)
        }
    }
}
