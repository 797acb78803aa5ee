//! Processes that show intent come in; probes are attached in them, owned here, and handed out to be taken away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::bpf::Kernel;
use crate::bpf::ProbeLink;

use super::Error;
use super::library::{Carried, Library};
use super::mapped::{Mapping, executable_mappings};
use super::plan::{Part, Plan, Planner};

/// Processes that carry probes at once; the same bound as the kernel's table.
const PROCESSES_MAX: usize = sensor_common::limits::PROCESSES_MAX as usize;

/// Why a process carries probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// Its program made AI calls before.
    Learned,
    /// It asked DNS for an AI name.
    Question,
    /// It connected to an AI address.
    Connect,
    /// It sent a ClientHello with an AI name.
    Hello,
    /// Its parent carries probes.
    Forked,
    /// It had open TLS connections when the agent started.
    Probation,
    /// The configuration asks for every process.
    Eager,
}

impl Why {
    /// The word used in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Question => "dns_question",
            Self::Connect => "connect",
            Self::Hello => "client_hello",
            Self::Forked => "forked",
            Self::Probation => "probation",
            Self::Eager => "eager",
        }
    }
}

/// What attaching to a process came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Probes set by this call.
    pub probes: usize,
    /// Paths of the files that carry a TLS library, as the process sees them.
    pub libraries: Vec<String>,
    /// The libraries in those files.
    pub carried: Vec<Carried>,
}

#[derive(Debug)]
struct Process {
    links: Vec<(Library, ProbeLink)>,
    files: HashSet<(String, u64)>,
    /// Paths of all probed files.
    paths: Vec<String>,
    libraries: Vec<String>,
    /// Some library puts its records out by the C library.
    sends_by_libc: bool,
    why: Why,
}

/// An open file with something to probe.
#[derive(Debug)]
struct Planned {
    file: File,
    identity: (String, u64),
    path: String,
    plan: Arc<Plan>,
}

/// Owns every probe of every process.
#[derive(Debug, Default)]
pub struct Registry {
    planner: Planner,
    processes: HashMap<u32, Process>,
    /// Files probed for all processes (`attach = "eager"`).
    everywhere: HashMap<(String, u64), Vec<(Library, ProbeLink)>>,
}

impl Registry {
    /// Attaches to every TLS library that the process maps and that is not yet probed in it.
    pub fn attach(&mut self, kernel: &mut Kernel, pid: u32, why: Why) -> Result<Attached, Error> {
        let mappings = executable_mappings(pid)?;
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let executable = executable.to_string_lossy();
        let executable = executable.strip_suffix(" (deleted)").unwrap_or(&executable);
        let (mut likely, rest): (Vec<_>, Vec<_>) = mappings
            .into_iter()
            .partition(|mapping| mapping.path == executable || is_likely(mapping.file_name()));
        // What ties a TLS object to its socket stands before the first plaintext is seen.
        likely.sort_by_key(|mapping| !mapping.file_name().contains("crypto"));
        let mut attached = Attached::default();
        self.attach_mapped(kernel, (pid, why), &likely, &mut attached)?;
        if attached.libraries.is_empty() && self.libraries_of(pid).is_empty() {
            self.attach_mapped(kernel, (pid, why), &rest, &mut attached)?;
        }
        Ok(attached)
    }

    fn attach_mapped(
        &mut self,
        kernel: &mut Kernel,
        (pid, why): (u32, Why),
        mappings: &[Mapping],
        attached: &mut Attached,
    ) -> Result<(), Error> {
        let open = |mapping: &Mapping| {
            let identity = (mapping.device.clone(), mapping.inode);
            Some((mapping.open(pid).ok()?, identity, mapping.path.clone()))
        };
        let files = mappings.iter().filter(|mapping| !is_libc(mapping.file_name()));
        let mut files = self.planned(pid, files.filter_map(open));
        if self.needs_libc(pid, &files) {
            let libc = executable_mappings(pid)?;
            let libc = libc.iter().filter(|mapping| is_libc(mapping.file_name()));
            let libc = self.planned(pid, libc.filter_map(open));
            files.splice(0..0, libc);
        }
        self.attach_files(kernel, (pid, why), &files, attached)
    }

    /// Attaches to files by path, before the process maps them: the kernel sets the probes when it does.
    pub fn attach_paths(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        paths: &[String],
    ) -> Result<Attached, Error> {
        let mut attached = Attached::default();
        let files = self.planned(
            pid,
            paths.iter().filter_map(|path| {
                let file = File::open(format!("/proc/{pid}/root{path}")).ok()?;
                let identity = identity_of(&file)?;
                Some((file, identity, path.clone()))
            }),
        );
        self.attach_files(kernel, (pid, Why::Learned), &files, &mut attached)?;
        Ok(attached)
    }

    /// Files that are not yet probed in the process and have something to probe.
    fn planned(
        &mut self,
        pid: u32,
        files: impl Iterator<Item = (File, (String, u64), String)>,
    ) -> Vec<Planned> {
        let mut planned = Vec::new();
        for (file, identity, path) in files {
            if self.processes.get(&pid).is_some_and(|process| process.files.contains(&identity)) {
                continue;
            }
            let Ok(plan) = self.planner.plan(&file) else { continue };
            if !plan.parts.is_empty() {
                planned.push(Planned { file, identity, path, plan });
            }
        }
        planned
    }

    /// Whether some library of the process puts its records out by the C library, which is then probed too.
    fn needs_libc(&self, pid: u32, files: &[Planned]) -> bool {
        let known = self.processes.get(&pid).is_some_and(|process| process.sends_by_libc);
        known || files.iter().any(|file| sends_by_libc(&file.plan))
    }

    fn attach_files(
        &mut self,
        kernel: &mut Kernel,
        (pid, why): (u32, Why),
        files: &[Planned],
        attached: &mut Attached,
    ) -> Result<(), Error> {
        for Planned { file, identity, path, plan } in files {
            self.attach_file(kernel, (pid, why), (file, identity, path, plan), attached)?;
        }
        Ok(())
    }

    fn attach_file(
        &mut self,
        kernel: &mut Kernel,
        (pid, why): (u32, Why),
        (file, identity, path, plan): (&File, &(String, u64), &str, &Arc<Plan>),
        attached: &mut Attached,
    ) -> Result<(), Error> {
        if why == Why::Eager {
            return self.attach_everywhere(kernel, (file, identity, path, plan), attached);
        }
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            return Ok(());
        }
        let links = set_probes(kernel, file, plan, Some(pid))?;
        attached.probes = attached.probes.saturating_add(links.len());
        let process = self.processes.entry(pid).or_insert_with(|| Process {
            links: Vec::new(),
            files: HashSet::new(),
            paths: Vec::new(),
            libraries: Vec::new(),
            sends_by_libc: false,
            why,
        });
        process.sends_by_libc |= sends_by_libc(plan);
        process.paths.push(path.to_owned());
        process.links.extend(links);
        process.files.insert(identity.clone());
        if plan.carries_data() {
            process.libraries.push(path.to_owned());
            attached.libraries.push(path.to_owned());
            attached.carried.extend(plan.carried());
        }
        Ok(())
    }

    fn attach_everywhere(
        &mut self,
        kernel: &mut Kernel,
        (file, identity, path, plan): (&File, &(String, u64), &str, &Arc<Plan>),
        attached: &mut Attached,
    ) -> Result<(), Error> {
        if plan.carries_data() {
            attached.libraries.push(path.to_owned());
            attached.carried.extend(plan.carried());
        }
        if !self.everywhere.contains_key(identity) {
            let links = set_probes(kernel, file, plan, None)?;
            attached.probes = attached.probes.saturating_add(links.len());
            self.everywhere.insert(identity.clone(), links);
        }
        Ok(())
    }

    /// Attaches to libraries that a probed process has loaded since; an error where the process has ended.
    pub fn refresh(&mut self, kernel: &mut Kernel, pid: u32) -> Result<Attached, Error> {
        let why = self.why(pid).unwrap_or(Why::Probation);
        let likely: Vec<_> = executable_mappings(pid)?
            .into_iter()
            .filter(|mapping| is_likely(mapping.file_name()))
            .collect();
        let mut attached = Attached::default();
        self.attach_mapped(kernel, (pid, why), &likely, &mut attached)?;
        Ok(attached)
    }

    /// Gives the probes of a process back; dropping them is slow and belongs off the hot path.
    pub fn detach(&mut self, pid: u32) -> Vec<ProbeLink> {
        let links = self.processes.remove(&pid).map(|process| process.links).unwrap_or_default();
        links.into_iter().map(|(_, link)| link).collect()
    }

    /// Gives all probes back.
    pub fn detach_all(&mut self) -> Vec<ProbeLink> {
        let everywhere = self.everywhere.drain().flat_map(|(_, links)| links);
        let scoped = self.processes.drain().flat_map(|(_, process)| process.links);
        everywhere.chain(scoped).map(|(_, link)| link).collect()
    }

    /// Whether the process carries probes, and why.
    pub fn why(&self, pid: u32) -> Option<Why> {
        self.processes.get(&pid).map(|process| process.why)
    }

    /// Raises the reason of a process on probation that has proven to talk to AI.
    pub fn confirm(&mut self, pid: u32, why: Why) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.why = why;
        }
    }

    /// Processes that carry probes.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    /// Paths of the TLS libraries probed in a process.
    pub fn libraries_of(&self, pid: u32) -> &[String] {
        self.processes.get(&pid).map_or(&[], |process| &process.libraries)
    }

    /// Paths of all files probed in a process: TLS libraries, and what they write through.
    pub fn paths_of(&self, pid: u32) -> &[String] {
        self.processes.get(&pid).map_or(&[], |process| &process.paths)
    }

    /// How many probes are set for each library.
    pub fn probe_counts(&self) -> BTreeMap<Library, usize> {
        let scoped = self.processes.values().flat_map(|process| &process.links);
        let mut counts = BTreeMap::new();
        for (library, _) in scoped.chain(self.everywhere.values().flatten()) {
            let count: &mut usize = counts.entry(*library).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    /// The planner, to resolve well-known files before they are needed.
    pub fn planner(&mut self) -> &mut Planner {
        &mut self.planner
    }
}

fn set_probes(
    kernel: &mut Kernel,
    file: &File,
    plan: &Plan,
    pid: Option<u32>,
) -> Result<Vec<(Library, ProbeLink)>, Error> {
    let mut links = Vec::new();
    for Part { library, probes, .. } in &plan.parts {
        for probe in probes {
            let link = kernel
                .attach_probe(probe.program, file.as_fd(), probe.offset, pid)
                .map_err(|source| Error::Attach { library: library.as_str(), source })?;
            links.push((*library, link));
        }
    }
    Ok(links)
}

/// Device and inode of a file, written as the memory map writes them where the file system shows the same device.
fn identity_of(file: &File) -> Option<(String, u64)> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    Some((format!("{major:02x}:{minor:02x}"), meta.ino()))
}

fn sends_by_libc(plan: &Plan) -> bool {
    plan.carried().any(|carried| carried.library.sends_by_libc())
}

/// Whether a file name is that of a C library.
fn is_libc(name: &str) -> bool {
    ["libc.so", "libc-", "ld-musl", "libc.musl"].iter().any(|known| name.starts_with(known))
}

/// Whether a file name promises a TLS library; the others are read only where none of these carries one.
fn is_likely(name: &str) -> bool {
    ["ssl", "crypto", "gnutls", "libpython", "libnode"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_names_are_told_from_others() {
        for name in [
            "libssl.so.3",
            "libcrypto-1f2e3d.so.1.1",
            "libnode.so.108",
            "_ssl.cpython-311-x86_64-linux-gnu.so",
        ] {
            assert!(is_likely(name), "{name}");
        }
        assert!(!is_likely("libc.so.6") && is_libc("libc.so.6"));
    }

    #[test]
    fn identity_is_written_as_the_memory_map_writes_it() {
        let pid = std::process::id();
        let file = File::open("/proc/self/exe").unwrap();
        let own = executable_mappings(pid).unwrap();
        let (device, inode) = identity_of(&file).unwrap();
        assert!(own.iter().any(|mapping| mapping.inode == inode && mapping.device == device));
    }
}
