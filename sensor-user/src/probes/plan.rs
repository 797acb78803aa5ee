//! An open file comes in; the probes to attach to it go out, resolved once and remembered.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::bare;
use super::elf::Image;
use super::library::{Carried, Library};
use super::offsets::Offsets;
use super::row::{Place, Row};
use super::search::Searcher;
use super::{Error, gnutls, go, nss, openssl, prologue, ring, rustls, sockets};

/// What a library makes of a file.
type Resolve = fn(&Image<'_>) -> Option<Part>;

/// Libraries by the names of their functions: all are looked for in one walk through the symbols.
const BY_SYMBOLS: [Resolve; 7] = [
    openssl::resolve,
    gnutls::resolve,
    nss::resolve,
    go::resolve,
    rustls::resolve,
    ring::resolve,
    sockets::resolve,
];

/// A file with one of these among its dynamic symbols needs no look at the others.
const KEYS: [&str; 4] = [openssl::KEY, gnutls::KEY, nss::KEY, nss::TLS_KEY];

/// Files whose plan is remembered; beyond it the memory is cleared and begins anew.
const PLANS_MAX: usize = 4096;

/// One probe of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Program of the kernel half.
    pub program: &'static str,
    /// Offset in the file.
    pub offset: u64,
}

/// What to attach for one library of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which library the probes are for.
    pub library: Library,
    /// The library with the functions that move plaintext, where the file has them.
    pub carried: Option<Carried>,
    /// Probes, most urgent first.
    pub probes: Vec<Probe>,
    /// Whether every hot probe stands on an instruction that the kernel emulates.
    pub cheap: bool,
}

impl Part {
    /// A part without probes.
    pub(super) fn new(library: Library) -> Self {
        Self { library, carried: None, probes: Vec::new(), cheap: true }
    }

    /// Adds the probe of a row, where the file has its function.
    pub(super) fn push(&mut self, image: &Image<'_>, row: &Row) {
        let Some(function) = image.function(row.function) else { return };
        let moved = match row.place {
            Place::Entry => prologue::entry_offset(&function.code, function.address),
            Place::EntryWithReturn | Place::Return => 0,
        };
        if row.place == Place::EntryWithReturn
            && !prologue::starts_cheap(&function.code, function.address)
        {
            self.cheap = false;
        }
        let offset = function.offset.saturating_add(moved);
        self.probes.push(Probe { program: row.program, offset });
    }
}

/// What to attach to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// GNU build-id, in hex; empty where the file has none.
    pub build_id: String,
    /// One part a library; empty where the file carries none.
    pub parts: Vec<Part>,
    /// Whether all its code has been searched for libraries without symbols.
    pub searched: bool,
}

impl Plan {
    /// The libraries whose plaintext functions the file has, each with how they were found.
    pub fn carried(&self) -> impl Iterator<Item = Carried> + '_ {
        self.parts.iter().filter_map(|part| part.carried)
    }

    /// Whether the file has functions that move plaintext.
    pub fn carries_data(&self) -> bool {
        self.carried().next().is_some()
    }
}

/// Identity of a file that did not change.
pub(super) type Identity = (u64, u64, u64, i64);

/// Makes plans and remembers them.
#[derive(Debug)]
pub struct Planner {
    plans: HashMap<Identity, Arc<Plan>>,
    /// Plans that took a search, by build: containers of one image have the same file under many identities.
    builds: HashMap<(String, u64), Arc<Plan>>,
    offsets: Offsets,
    searcher: Option<Searcher>,
}

/// Whether a file has been searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    /// Its plan is as whole as it gets.
    Done(Arc<Plan>),
    /// It is being searched.
    UnderWay,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(Offsets::bundled(), None)
    }
}

impl Planner {
    /// A planner with a table of known builds; without a searcher it searches by itself.
    pub fn new(offsets: Offsets, searcher: Option<Searcher>) -> Self {
        Self { plans: HashMap::new(), builds: HashMap::new(), offsets, searcher }
    }

    /// The plan for a file, from memory where the file is known: by symbols and by the table of builds.
    pub fn plan(&mut self, file: &File) -> Result<Arc<Plan>, Error> {
        self.collect();
        let identity = identity_of(file)?;
        if let Some(plan) = self.plans.get(&identity) {
            return Ok(Arc::clone(plan));
        }
        let mut plan = resolve(file)?;
        if !plan.carries_data() {
            // A file of another machine or form has no rows.
            let known = bare::parts(file, |image| bare::known(image, &self.offsets));
            plan.parts.extend(known.unwrap_or_default());
        }
        if !plan.carries_data()
            && let Some(known) = self.builds.get(&(plan.build_id.clone(), identity.2))
        {
            let known = Arc::clone(known);
            return Ok(self.remember(identity, known));
        }
        Ok(self.remember(identity, Arc::new(plan)))
    }

    /// The plan for a file in which nothing was found by symbols: all its code and constants are read, once.
    pub fn search(&mut self, file: &File) -> Result<Searched, Error> {
        let plan = self.plan(file)?;
        let named = plan.parts.iter().any(|part| part.library != Library::Sockets);
        if named || plan.searched {
            return Ok(Searched::Done(plan));
        }
        let identity = identity_of(file)?;
        if let Some(searcher) = &mut self.searcher {
            searcher.ask(identity, file);
            return Ok(Searched::UnderWay);
        }
        let parts = bare::all(file)?;
        Ok(Searched::Done(self.found(identity, parts)))
    }

    /// Forgets what the table of builds says of a build, so that its files are searched.
    pub(super) fn distrust(&mut self, build_id: &str) {
        self.offsets.remove(build_id);
        self.plans.retain(|_, plan| plan.build_id != build_id);
    }

    /// Takes what the searching thread has found.
    fn collect(&mut self) {
        let answers = self.searcher.as_mut().map(Searcher::answers).unwrap_or_default();
        for answer in answers {
            // What cannot be read holds nothing.
            self.found(answer.identity, answer.parts.unwrap_or_default());
        }
    }

    fn found(&mut self, identity: Identity, parts: Vec<Part>) -> Arc<Plan> {
        let mut plan = self.plans.get(&identity).map(|plan| Plan::clone(plan)).unwrap_or_default();
        plan.searched = true;
        plan.parts.extend(parts);
        let plan = Arc::new(plan);
        if plan.carries_data() && !plan.build_id.is_empty() && self.builds.len() < PLANS_MAX {
            self.builds.insert((plan.build_id.clone(), identity.2), Arc::clone(&plan));
        }
        self.remember(identity, plan)
    }

    fn remember(&mut self, identity: Identity, plan: Arc<Plan>) -> Arc<Plan> {
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(identity, Arc::clone(&plan));
        plan
    }
}

fn identity_of(file: &File) -> Result<Identity, Error> {
    let meta = file.metadata().map_err(|source| Error::Process {
        pid: 0,
        what: "file attributes",
        source,
    })?;
    Ok((meta.dev(), meta.ino(), meta.size(), meta.mtime_nsec()))
}

/// Has every library look at the file.
fn resolve(file: &File) -> Result<Plan, Error> {
    let names = openssl::functions().chain(gnutls::functions()).chain(nss::functions());
    let names = names.chain(rustls::functions()).chain(ring::functions());
    let mut wanted: Vec<_> = names.chain(sockets::functions()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let image = Image::read(file, &wanted, &KEYS)?;
    let parts = BY_SYMBOLS.iter().filter_map(|resolve| resolve(&image)).collect();
    Ok(Plan { build_id: image.build_id, parts, searched: false })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::probes::search;

    #[test]
    fn file_without_tls_has_an_empty_plan() {
        let mut planner = Planner::default();
        let plan = planner.plan(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(plan.parts.is_empty() && !plan.carries_data());
    }

    #[test]
    fn file_is_searched_once_and_by_another_thread() {
        let file = File::open("/proc/self/exe").unwrap();
        let (requests, requests_out) = sync_channel(1);
        let (answers, answers_out) = sync_channel(1);
        let searcher = Searcher::new(requests, answers_out);
        let mut planner = Planner::new(Offsets::default(), Some(searcher));
        assert_eq!(planner.search(&file).unwrap(), Searched::UnderWay);
        // Asked twice, searched once: the queue has one place.
        assert_eq!(planner.search(&file).unwrap(), Searched::UnderWay);
        let thread = std::thread::spawn(move || search::run(&requests_out, &answers, |_| {}));
        let done = std::iter::from_fn(|| {
            std::thread::yield_now();
            Some(planner.search(&file).unwrap())
        });
        let done = done.take(1_000_000_000).find(|found| *found != Searched::UnderWay).unwrap();
        let Searched::Done(plan) = done else { panic!("{done:?}") };
        // This test carries no TLS library; the text of one alone is none.
        assert!(plan.searched && !plan.carries_data());
        drop(planner);
        thread.join().unwrap();
    }

    #[test]
    fn plan_is_made_once_a_file() {
        let mut planner = Planner::default();
        let file = File::open("/proc/self/exe").unwrap();
        let (first, second) = (planner.plan(&file).unwrap(), planner.plan(&file).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }
}
