//! An open file comes in; the probes to attach to it go out, resolved once and remembered.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::elf::Image;
use super::library::{Carried, Library};
use super::row::{Place, Row};
use super::{Error, gnutls, go, openssl, prologue, sockets};

/// What a library makes of a file.
type Resolve = fn(&Image<'_>) -> Option<Part>;

/// Every library; the names of their functions are looked for in one walk through the symbols.
const LIBRARIES: [Resolve; 4] = [openssl::resolve, gnutls::resolve, go::resolve, sockets::resolve];

/// A file with one of these among its dynamic symbols needs no look at the others.
const KEYS: [&str; 2] = [openssl::KEY, gnutls::KEY];

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
type Identity = (u64, u64, u64, i64);

/// Makes plans and remembers them.
#[derive(Debug, Default)]
pub struct Planner {
    plans: HashMap<Identity, Arc<Plan>>,
}

impl Planner {
    /// The plan for a file, from memory where the file is known.
    pub fn plan(&mut self, file: &File) -> Result<Arc<Plan>, Error> {
        let meta = file.metadata().map_err(|source| Error::Process {
            pid: 0,
            what: "file attributes",
            source,
        })?;
        let identity = (meta.dev(), meta.ino(), meta.size(), meta.mtime_nsec());
        if let Some(plan) = self.plans.get(&identity) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(resolve(file)?);
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(identity, Arc::clone(&plan));
        Ok(plan)
    }
}

/// Has every library look at the file.
fn resolve(file: &File) -> Result<Plan, Error> {
    let names = openssl::functions().chain(gnutls::functions());
    let mut wanted: Vec<_> = names.chain(sockets::functions()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let image = Image::read(file, &wanted, &KEYS)?;
    let parts = LIBRARIES.iter().filter_map(|resolve| resolve(&image)).collect();
    Ok(Plan { build_id: image.build_id, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_tls_has_an_empty_plan() {
        let mut planner = Planner::default();
        let plan = planner.plan(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(plan.parts.is_empty() && !plan.carries_data());
    }

    #[test]
    fn plan_is_made_once_a_file() {
        let mut planner = Planner::default();
        let file = File::open("/proc/self/exe").unwrap();
        let (first, second) = (planner.plan(&file).unwrap(), planner.plan(&file).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }
}
