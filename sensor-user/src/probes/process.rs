//! Files that were probed in a process come in; what is known of the process by them goes out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::bpf::ProbeLink;

use super::attached::Why;
use super::library::{Carried, Library};
use super::openssl;
use super::plan::Plan;

/// Files whose functions no symbol names, with their plans.
pub(super) type Guessed = HashMap<(String, u64), Arc<Plan>>;

/// A process that carries probes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) links: Vec<(Library, ProbeLink)>,
    pub(super) files: HashSet<(String, u64)>,
    pub(super) guessed: Guessed,
    /// Paths of all probed files.
    pub(super) paths: Vec<String>,
    pub(super) libraries: Vec<String>,
    /// Some library puts its records out by the C library.
    pub(super) sends_by_libc: bool,
    /// A ClientHello came from none of the libraries: all its files are searched.
    pub(super) is_deep: bool,
    /// The place is probed at which libraries with OpenSSL's calls put their records out.
    has_channel: bool,
    pub(super) why: Why,
}

impl Process {
    pub(super) fn new(why: Why) -> Self {
        Self {
            links: Vec::new(),
            files: HashSet::new(),
            guessed: HashMap::new(),
            paths: Vec::new(),
            libraries: Vec::new(),
            sends_by_libc: false,
            is_deep: false,
            has_channel: false,
            why,
        }
    }

    /// Takes a file whose probes are set.
    pub(super) fn probed(
        &mut self,
        (identity, path): (&(String, u64), &str),
        plan: &Arc<Plan>,
        links: Vec<(Library, ProbeLink)>,
    ) {
        self.sends_by_libc |= sends_by_libc(plan);
        self.has_channel |= has_channel(plan);
        self.paths.push(path.to_owned());
        self.links.extend(links);
        self.files.insert(identity.clone());
        if plan.carried().any(Carried::is_guessed) {
            self.guessed.insert(identity.clone(), Arc::clone(plan));
        }
        if plan.carries_data() {
            self.libraries.push(path.to_owned());
        }
    }

    /// Whether every TLS library shows its ClientHellos before they are sent, and none has come from elsewhere.
    pub(super) fn shows_hellos(&self) -> bool {
        let shows = |library: &Library| matches!(library, Library::OpenSsl | Library::BoringSsl);
        self.has_channel
            && !self.is_deep
            && !self.libraries.is_empty()
            && self.links.iter().all(|(library, _)| shows(library))
    }
}

fn has_channel(plan: &Plan) -> bool {
    let mut probes = plan.parts.iter().flat_map(|part| &part.probes);
    probes.any(|probe| probe.program == openssl::CHANNEL_ROW.program)
}

/// Whether a library of the file puts its records out by the C library.
pub(super) fn sends_by_libc(plan: &Plan) -> bool {
    plan.carried().any(|carried| carried.library.sends_by_libc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::library::Resolution;
    use crate::probes::plan::{Part, Probe};

    fn plan(library: Library, program: &'static str, data: bool) -> Arc<Plan> {
        let mut part = Part::new(library);
        part.probes.push(Probe { program, offset: 64 });
        part.carried = data.then_some(Carried { library, resolution: Resolution::Symbols });
        Arc::new(Plan { parts: vec![part], ..Plan::default() })
    }

    fn with(plans: &[Arc<Plan>]) -> Process {
        let mut process = Process::new(Why::Hello);
        for (plan, inode) in plans.iter().zip(1..) {
            process.probed((&("08:01".to_owned(), inode), "/lib/a.so"), plan, Vec::new());
        }
        process
    }

    #[test]
    fn hellos_are_shown_where_the_channel_is_probed_and_until_one_came_from_elsewhere() {
        let data = plan(Library::OpenSsl, "tls_write", true);
        let channel = plan(Library::OpenSsl, "bio_write", false);
        assert!(!with(&[]).shows_hellos());
        assert!(!with(&[Arc::clone(&data)]).shows_hellos());
        assert!(!with(&[Arc::clone(&channel)]).shows_hellos());
        let mut both = with(&[data, channel]);
        assert!(both.shows_hellos());
        both.is_deep = true;
        assert!(!both.shows_hellos());
    }
}
