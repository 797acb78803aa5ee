//! Processes that show intent come in; probes are attached in them, owned here, and handed out to be taken away.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::bpf::Kernel;
use crate::bpf::ProbeLink;

use super::Error;
use super::attached::{Attached, Rejected, Why};
use super::library::{Library, Resolution};
use super::mapped::{Mapping, executable_mappings, identity_of, is_libc, is_likely};
use super::plan::{Part, Plan, Planner, Searched};
use super::process::{Guessed, Process, sends_by_libc};
use super::trust::Trust;

/// Processes that carry probes at once; the same bound as the kernel's table.
const PROCESSES_MAX: usize = sensor_common::limits::PROCESSES_MAX as usize;

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
    trust: Trust,
    processes: HashMap<u32, Process>,
    /// Files of processes that have ended, whose connections are judged later; at its bound the memory begins anew.
    ended: HashMap<u32, Guessed>,
    /// Paths of the files that the last attempt meant to probe, also where it failed.
    meant: Vec<String>,
    /// Files probed for all processes (`attach = "eager"`).
    everywhere: HashMap<(String, u64), Vec<(Library, ProbeLink)>>,
}

impl Registry {
    /// A registry without probes.
    pub fn new(planner: Planner) -> Self {
        Self { planner, ..Self::default() }
    }

    /// Attaches to every TLS library that the process maps and that is not yet probed in it.
    pub fn attach(&mut self, kernel: &mut Kernel, pid: u32, why: Why) -> Result<Attached, Error> {
        let mappings = executable_mappings(pid)?;
        self.meant.clear();
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let executable = executable.to_string_lossy();
        let executable = executable.strip_suffix(" (deleted)").unwrap_or(&executable);
        let (mut likely, rest): (Vec<_>, Vec<_>) = mappings
            .into_iter()
            .partition(|mapping| mapping.path == executable || is_likely(mapping.file_name()));
        // What ties a TLS object to its socket stands before the first plaintext is seen.
        likely.sort_by_key(|mapping| !mapping.file_name().contains("crypto"));
        let mut attached = Attached::default();
        self.attach_mapped(kernel, (pid, why), (&likely, true), &mut attached)?;
        let is_deep = self.is_deep(pid);
        if is_deep || (attached.libraries.is_empty() && self.libraries_of(pid).is_empty()) {
            // A name does not promise anything; what is certain to speak TLS is worth the search.
            let thorough = is_deep || why == Why::Hello;
            self.attach_mapped(kernel, (pid, why), (&rest, thorough), &mut attached)?;
        }
        // Whoever has a library does not wait for a second one, unless that is the one that speaks.
        attached.under_way &=
            is_deep || (attached.libraries.is_empty() && self.libraries_of(pid).is_empty());
        Ok(attached)
    }

    fn attach_mapped(
        &mut self,
        kernel: &mut Kernel,
        (pid, why): (u32, Why),
        (mappings, thorough): (&[Mapping], bool),
        attached: &mut Attached,
    ) -> Result<(), Error> {
        let open = |mapping: &Mapping| {
            let identity = (mapping.device.clone(), mapping.inode);
            Some((mapping.open(pid).ok()?, identity, mapping.path.clone()))
        };
        let files = mappings.iter().filter(|mapping| !is_libc(mapping.file_name()));
        let mut files =
            self.planned((pid, thorough), files.filter_map(open), &mut attached.under_way);
        if self.needs_libc(pid, &files) {
            let libc = executable_mappings(pid)?;
            let libc = libc.iter().filter(|mapping| is_libc(mapping.file_name()));
            let libc = self.planned((pid, false), libc.filter_map(open), &mut attached.under_way);
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
        // A search that is under way ends before the process shows intent again.
        let mut under_way = false;
        let files = self.planned(
            (pid, true),
            paths.iter().filter_map(|path| {
                let file = File::open(format!("/proc/{pid}/root{path}")).ok()?;
                let identity = identity_of(&file)?;
                Some((file, identity, path.clone()))
            }),
            &mut under_way,
        );
        self.attach_files(kernel, (pid, Why::Learned), &files, &mut attached)?;
        Ok(attached)
    }

    /// Files that are not yet probed in the process and have something to probe; those without symbols are searched,
    /// where that is asked for.
    fn planned(
        &mut self,
        (pid, thorough): (u32, bool),
        files: impl Iterator<Item = (File, (String, u64), String)>,
        under_way: &mut bool,
    ) -> Vec<Planned> {
        let mut planned = Vec::new();
        for (file, identity, path) in files {
            if self.processes.get(&pid).is_some_and(|process| process.files.contains(&identity)) {
                continue;
            }
            // The C library has nothing more than the names of its functions.
            let libc = is_libc(path.rsplit('/').next().unwrap_or_default());
            let found = if thorough && !libc {
                self.planner.search(&file)
            } else {
                self.planner.plan(&file).map(Searched::Done)
            };
            *under_way |= matches!(found, Ok(Searched::UnderWay));
            let Ok(Searched::Done(plan)) = found else { continue };
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
        self.meant.extend(files.iter().map(|file| file.path.clone()));
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
        if self.trust.is_rejected(identity) {
            attached.rejected = true;
            return Ok(());
        }
        if why == Why::Eager {
            return self.attach_everywhere(kernel, (file, identity, path, plan), attached);
        }
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            return Ok(());
        }
        let links = set_probes(kernel, file, plan, Some(pid))?;
        attached.probes = attached.probes.saturating_add(places(&links));
        let process = self.processes.entry(pid).or_insert_with(|| Process::new(why));
        process.probed((identity, path), plan, links);
        if plan.carries_data() {
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
            attached.probes = attached.probes.saturating_add(places(&links));
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
        self.attach_mapped(kernel, (pid, why), (&likely, true), &mut attached)?;
        Ok(attached)
    }

    /// Gives the probes of a process back; dropping them is slow and belongs off the hot path.
    pub fn detach(&mut self, pid: u32) -> Vec<ProbeLink> {
        let Some(Process { links, guessed, .. }) = self.processes.remove(&pid) else {
            return Vec::new();
        };
        if self.ended.len() >= PROCESSES_MAX {
            self.ended.clear();
        }
        if !guessed.is_empty() {
            self.ended.insert(pid, guessed);
        }
        links.into_iter().map(|(_, link)| link).collect()
    }

    /// Notes what a connection of a process was: plaintext, or not. Where its file is rejected by it, gives
    /// back the running processes that lose their probes.
    pub fn judge(&mut self, pid: u32, http: bool) -> Option<Vec<Rejected>> {
        let running = self.processes.get(&pid).map(|process| &process.guessed);
        let guessed = running.or_else(|| self.ended.get(&pid)).cloned();
        let mut rejected: Option<Vec<_>> = None;
        for (file, plan) in guessed.into_iter().flatten() {
            if !self.trust.judge(&file, http) {
                continue;
            }
            // A row is a claim, and a search may know better; what a search found is all there is.
            let again = plan.carried().any(|carried| carried.resolution == Resolution::Offsets);
            if again {
                self.trust.forget(&file);
                self.planner.distrust(&plan.build_id);
            }
            let of_file =
                self.processes.iter().filter(|(_, process)| process.guessed.contains_key(&file));
            let of_file =
                of_file.map(|(pid, process)| Rejected { pid: *pid, why: process.why, again });
            rejected.get_or_insert_default().extend(of_file);
        }
        rejected
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

    /// Has all files of a process searched at its next attempt; says whether that is news.
    pub fn deepen(&mut self, pid: u32) -> bool {
        let process = self.processes.get_mut(&pid);
        process.is_some_and(|process| !std::mem::replace(&mut process.is_deep, true))
    }

    /// Whether all files of a process are searched.
    pub fn is_deep(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.is_deep)
    }

    /// Whether every TLS library that is probed in a process shows its ClientHellos before they are sent, and none has come
    /// from elsewhere.
    pub fn shows_hellos(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(Process::shows_hellos)
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

    /// Paths of the files that the last attempt meant to probe: what a process that has ended meanwhile was made of.
    pub fn meant(&self) -> &[String] {
        &self.meant
    }

    /// How many probes are set for each library.
    pub fn probe_counts(&self) -> BTreeMap<Library, usize> {
        let scoped = self.processes.values().flat_map(|process| &process.links);
        let mut counts = BTreeMap::new();
        for (library, link) in scoped.chain(self.everywhere.values().flatten()) {
            let count: &mut usize = counts.entry(*library).or_default();
            *count = count.saturating_add(link.places());
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
        let probes = probes.iter().map(|probe| (probe.program, probe.offset));
        let set = kernel
            .attach_probes(probes, file.as_fd(), pid)
            .map_err(|source| Error::Attach { library: library.as_str(), source })?;
        links.extend(set.into_iter().map(|link| (*library, link)));
    }
    Ok(links)
}

fn places(links: &[(Library, ProbeLink)]) -> usize {
    links.iter().map(|(_, link)| link.places()).sum()
}
