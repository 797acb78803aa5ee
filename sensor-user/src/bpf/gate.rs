//! A folder of the bpf file system comes in; the gate is loaded, attached and pinned there, so that it outlives the agent.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aya::maps::Array;
use aya::programs::{Program, ProgramInfo, loaded_programs};
use aya::{Btf, Ebpf, EbpfLoader};
use aya_obj::generated::bpf_prog_type;
use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit, setrlimit};
use sensor_common::gate::GATE_ABI_VERSION;
use sensor_common::names;
use sensor_common::sha256::ROUNDS;

use super::multi::{MultiPrograms, descriptor_of, is_usable};
use super::raw::Point;
use super::{Error, btf, cgroup, raw};

/// The gate, as built by `cargo xtask build` for this architecture.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TOLLGATE_GATE_OBJECT"));

/// Maps that outlive the agent.
const PINNED: [&str; 26] = [
    "SWITCHES",
    "SUBJECT_PROCESSES",
    "SUBJECT_CGROUPS",
    "SCOPES",
    "RULES",
    "DESTINATION_NAMES",
    "DESTINATION_ADDRESSES",
    "DEDICATED_ADDRESSES",
    "MARKS",
    "AI_SOCKETS",
    "WATCHED",
    "GATES",
    "REASON_WORDS",
    "OBJECTS",
    "INSIDE",
    "RECORDS",
    "HELLOS",
    "HEADS",
    "SCANNER",
    "FORMS_HELD",
    "FORMS",
    "KEY_STATES",
    "GATE_EVENTS",
    "GATE_COUNTS",
    names::MAP_GATE_TAILS,
    names::MAP_MESSAGE_TAILS,
];

/// Attach types (`enum bpf_attach_type`).
const SOCK_CREATE: u32 = 2;
const SOCK_OPS: u32 = 3;
const SK_MSG_VERDICT: u32 = 7;
const CONNECT4: u32 = 10;
const CONNECT6: u32 = 11;
const SENDMSG4: u32 = 14;
const SENDMSG6: u32 = 15;
const SETSOCKOPT: u32 = 22;

/// Programs at the root of the cgroup tree: what watches stands before what lets sockets in.
const AT_ROOT: [(&str, u32); 7] = [
    ("gate_state", SOCK_OPS),
    ("gate_connect4", CONNECT4),
    ("gate_connect6", CONNECT6),
    ("gate_sendmsg4", SENDMSG4),
    ("gate_sendmsg6", SENDMSG6),
    ("gate_socket", SOCK_CREATE),
    ("gate_option", SETSOCKOPT),
];

/// Programs of the gate by the observing program at the same place of a TLS library.
const BESIDE: [(&str, &str); 11] = [
    ("tls_write", "gate_write"),
    ("tls_write_ex", "gate_write_ex"),
    ("tls_write_ex2", "gate_write_ex"),
    ("tls_write_done", "gate_leave"),
    ("tls_read", "gate_enter"),
    ("tls_read_ex", "gate_enter"),
    ("tls_read_done", "gate_leave"),
    ("tls_handshake", "gate_enter"),
    ("tls_handshake_done", "gate_leave"),
    ("tls_free", "gate_free"),
    ("bio_write", "gate_bio"),
];

/// The loaded gate.
pub struct Gate {
    ebpf: Ebpf,
    multi: Option<MultiPrograms>,
    folder: PathBuf,
}

/// The folder of this version's maps and links below the folder of pins.
pub fn folder_of(pins: &Path) -> PathBuf {
    pins.join(format!("v{GATE_ABI_VERSION}"))
}

/// Whether this kernel's probes outlive the agent, and so may judge.
pub fn has_lasting_probes() -> bool {
    is_usable(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
}

fn refused(step: &'static str, what: &str) -> impl FnOnce(io::Error) -> Error {
    let program = what.to_owned();
    move |source| Error::Raw { step, program, source }
}

impl Gate {
    /// Loads every program against the pinned maps, which are made where they are missing; nothing new is attached yet.
    pub fn load(pins: &Path) -> Result<Self, Error> {
        let folder = folder_of(pins);
        mount_where_missing(pins)?;
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Read { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder.join("probes"))
            .map_err(read(&folder))?;
        // Before Linux 5.11, maps count against the locked memory of the process; a refusal shows when they are made.
        let unlimited = Rlimit { current: None, maximum: None };
        let _older_kernels = setrlimit(Resource::Memlock, unlimited);
        let offsets = btf::task_offsets()?;
        let types = Btf::from_sys_fs().map_err(|source| Error::Btf(source.to_string()))?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let chooses = u32::from(has_set_retval(&release));
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&types))
            .override_global("HAS_SET_RETVAL", &chooses, true)
            .override_global("TASK_PID", &offsets.pid, true)
            .override_global("TASK_TGID", &offsets.tgid, true)
            .override_global("TASK_SIGNAL", &offsets.signal, true)
            .override_global("SIGNAL_LIVE", &offsets.live, true);
        for name in PINNED {
            loader.map_pin_path(name, folder.join(name));
        }
        let mut ebpf = loader.load(OBJECT).map_err(|source| Error::Load(Box::new(source)))?;
        let constants = ebpf.map_mut("HASH_ROUNDS").map(Array::<_, [u32; 64]>::try_from);
        let constants = constants.ok_or_else(|| Error::Mismatch("it has no rounds".to_owned()))?;
        constants
            .and_then(|mut constants| constants.set(0, ROUNDS, 0))
            .map_err(|source| Error::Map { map: "HASH_ROUNDS", source: Box::new(source) })?;
        let multi = is_usable(&release).then(|| MultiPrograms::load(OBJECT, &ebpf)).transpose()?;
        for (name, program) in ebpf.programs_mut() {
            if multi.is_none() || !matches!(program, Program::UProbe(_)) {
                let name = name.to_owned();
                load(program).map_err(|source| Error::Program {
                    step: "loading",
                    program: name,
                    source: Box::new(source),
                })?;
            }
        }
        Ok(Self { ebpf, multi, folder })
    }

    /// Where this version's pins are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Attaches everything beside what an agent before may have left, then takes that away: there is no moment without.
    pub fn attach(&self) -> Result<(), Error> {
        for (map, index, name) in [
            (names::MAP_GATE_TAILS, names::TAIL_SCAN, names::PROGRAM_SCAN),
            (names::MAP_GATE_TAILS, names::TAIL_JUDGE, names::PROGRAM_JUDGE),
            (names::MAP_GATE_TAILS, names::TAIL_PATH, names::PROGRAM_PATH),
            (names::MAP_GATE_TAILS, names::TAIL_CREDENTIAL, names::PROGRAM_CREDENTIAL),
            (names::MAP_MESSAGE_TAILS, names::TAIL_HELLO, names::PROGRAM_HELLO),
            (names::MAP_MESSAGE_TAILS, names::TAIL_NAME, names::PROGRAM_NAME),
        ] {
            let tails = self.map(map)?;
            let program = self.program(name)?;
            raw::set_tail(tails, index, program.as_fd()).map_err(refused("tail-calling", name))?;
        }
        let watched = self.map("WATCHED")?;
        let message = self.program("gate_message")?;
        raw::attach_to_map(message.as_fd(), watched, SK_MSG_VERDICT)
            .map_err(refused("attaching", "gate_message"))?;
        for (name, point) in
            [("gate_fork", c"sched_process_fork"), ("gate_exit", c"sched_process_exit")]
        {
            self.attach_at(name, Point::Tracepoint(point))?;
        }
        let root = cgroup::root()?;
        for (name, kind) in AT_ROOT {
            self.attach_at(name, Point::Cgroup(root.as_fd(), kind))?;
        }
        Ok(())
    }

    /// Programs of the gate that ought to be attached to the machine and are not, with why.
    pub fn missing_links(folder: &Path) -> Vec<String> {
        let names = AT_ROOT.iter().map(|(name, _)| *name).chain(["gate_fork", "gate_exit"]);
        names
            .filter_map(|name| match raw::program_of_pin(&link_of(folder, name)?) {
                Ok(Some(_program)) => None,
                Ok(None) => Some(format!("{name} was detached")),
                Err(error) => Some(format!("the link of {name}: {error}")),
            })
            .collect()
    }

    /// Programs of others that hold sockets of this machine: a socket has one watcher, so this gate cannot watch theirs.
    pub fn rivals(folder: &Path) -> Vec<String> {
        let state = link_of(folder, "gate_state").map(|path| raw::program_of_pin(&path));
        let own = state.and_then(Result::ok).flatten();
        let named = |program: ProgramInfo| {
            let name = program.name_as_str().unwrap_or_default().to_owned();
            let is_rival = match program.program_type() {
                // Another gate is told by its sockops program.
                bpf_prog_type::BPF_PROG_TYPE_SK_MSG => !name.starts_with("gate_"),
                bpf_prog_type::BPF_PROG_TYPE_SOCK_OPS => {
                    name == "gate_state" && Some(program.id()) != own
                }
                _ => false,
            };
            is_rival.then(|| format!("{name} (program {})", program.id()))
        };
        loaded_programs().flatten().filter_map(named).collect()
    }

    fn attach_at(&self, name: &str, point: Point<'_>) -> Result<(), Error> {
        let program = self.program(name)?;
        let link = raw::link(program.as_fd(), point).map_err(refused("attaching", name))?;
        pin(link.as_fd(), &self.folder.join(format!("link_{name}")))
    }

    /// Attaches the program that belongs beside an observing one, for one process; pinned where the kernel has links that
    /// can be. Says whether there is one.
    pub fn attach_probe(
        &self,
        beside: &str,
        file: BorrowedFd<'_>,
        offset: u64,
        owner: (u32, u64),
    ) -> Result<bool, Error> {
        let (Some(multi), Some((_, program))) =
            (&self.multi, BESIDE.iter().find(|(observing, _)| *observing == beside))
        else {
            return Ok(false);
        };
        let (pid, start) = owner;
        let folder = self.folder.join("probes").join(format!("{pid}-{start}"));
        fs::create_dir_all(&folder)
            .map_err(|source| Error::Read { path: folder.clone(), source })?;
        let inode = rustix::fs::fstat(file).map_or(0, |stat| stat.st_ino);
        let link = multi.attach(program, file, &[offset], Some(pid))?;
        pin(link.as_fd(), &folder.join(format!("{program}-{inode}-{offset:x}")))?;
        Ok(true)
    }

    /// Takes the probes of a process away; one that has none is not an error.
    pub fn detach_probes(&self, owner: (u32, u64)) {
        let (pid, start) = owner;
        let _gone = fs::remove_dir_all(self.folder.join("probes").join(format!("{pid}-{start}")));
    }

    /// Processes that carry probes, by id and start.
    pub fn probed(&self) -> Vec<(u32, u64)> {
        let entries = fs::read_dir(self.folder.join("probes")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let (pid, start) = name.to_str()?.split_once('-')?;
                Some((pid.parse().ok()?, start.parse().ok()?))
            })
            .collect()
    }

    fn map(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let missing = || Error::Mismatch(format!("the gate has no map {name}"));
        self.ebpf.map(name).and_then(descriptor_of).ok_or_else(missing)
    }

    fn program(&self, name: &str) -> Result<OwnedFd, Error> {
        if let Some(program) = self.multi.as_ref().and_then(|multi| multi.descriptor(name)) {
            return program.try_clone_to_owned().map_err(refused("loading", name));
        }
        let program = self
            .ebpf
            .program(name)
            .ok_or_else(|| Error::Mismatch(format!("the gate has no program {name}")))?;
        let loaded = program.fd().map_err(|source| Error::Program {
            step: "loading",
            program: name.to_owned(),
            source: Box::new(source),
        })?;
        loaded.as_fd().try_clone_to_owned().map_err(refused("loading", name))
    }
}

/// Mounts the bpf file system where it is to be used at its usual place and is not mounted there.
fn mount_where_missing(pins: &Path) -> Result<(), Error> {
    /// `BPF_FS_MAGIC` (linux/magic.h).
    const MAGIC: u64 = 0xcafe_4a11;
    let usual = Path::new("/sys/fs/bpf");
    let kind = rustix::fs::statfs(usual).map_or(0, |stat| stat.f_type);
    if !pins.starts_with(usual) || u64::try_from(kind).unwrap_or(0) == MAGIC {
        return Ok(());
    }
    rustix::mount::mount("bpf", usual, "bpf", MountFlags::empty(), c"mode=0700")
        .map_err(|error| refused("mounting", "the bpf file system")(error.into()))
}

/// Path of the pin of a program's link.
fn link_of(folder: &Path, program: &str) -> Option<CString> {
    CString::new(folder.join(format!("link_{program}")).as_os_str().as_bytes()).ok()
}

/// Pins a link in the place of an older one, which goes only when the new one stands.
fn pin(link: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let name = path.display().to_string();
    // The bpf file system refuses names with a dot.
    let mut next = path.as_os_str().to_owned();
    next.push("-next");
    let next = PathBuf::from(next);
    // An agent that was killed between the two steps left this behind.
    let _left_over = fs::remove_file(&next);
    let text = CString::new(next.as_os_str().as_bytes())
        .map_err(|error| refused("pinning", &name)(io::Error::other(error)))?;
    raw::pin(link, &text).map_err(refused("pinning", &name))?;
    fs::rename(&next, path).map_err(refused("pinning", &name))
}

/// Whether the kernel lets a program choose the error of a refused connect (5.18).
fn has_set_retval(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 18)
}

fn load(program: &mut Program) -> Result<(), aya::programs::ProgramError> {
    match program {
        Program::UProbe(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        _ => Err(aya::programs::ProgramError::UnexpectedProgramType),
    }
}
