//! An open file comes in; the probes to attach to it go out, resolved once and remembered.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::elf::{self, Found, Function};
use super::openssl::{self, Place, Row};
use super::{Error, prologue};

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

/// What to attach to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// GNU build-id, in hex; empty where the file has none.
    pub build_id: String,
    /// Probes, most urgent first; empty where the file carries no TLS library.
    pub probes: Vec<Probe>,
    /// Whether the file has the functions that move plaintext.
    pub carries_data: bool,
    /// Whether every hot probe stands on an instruction that the kernel emulates.
    pub cheap: bool,
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
        let found = elf::find(file, &openssl::functions(), openssl::KEY)?;
        let plan = Arc::new(resolve(&found, |address| elf::function_at(file, address)));
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(identity, Arc::clone(&plan));
        Ok(plan)
    }
}

/// Turns found functions into probes.
fn resolve(found: &Found, read: impl Fn(u64) -> Option<Function>) -> Plan {
    let mut plan = Plan { build_id: found.build_id.clone(), cheap: true, ..Plan::default() };
    plan.carries_data = found.functions.contains_key(openssl::KEY);
    if plan.carries_data {
        let inner = inner_probes(found, &read);
        for row in &openssl::DATA_ROWS {
            if inner.iter().any(|(functions, _)| functions.contains(&row.function)) {
                continue;
            }
            push(&mut plan, found, row);
        }
        for (_, probes) in inner {
            plan.probes.splice(0..0, probes);
        }
        for row in &openssl::CONTEXT_ROWS {
            push(&mut plan, found, row);
        }
    }
    if let Some(channel) = channel_probe(found, &read) {
        // What ties a TLS object to its socket stands before the first plaintext is seen.
        plan.probes.insert(0, channel);
    }
    plan
}

fn push(plan: &mut Plan, found: &Found, row: &Row) {
    let Some(function) = found.functions.get(row.function) else { return };
    let moved = match row.place {
        Place::Entry => prologue::entry_offset(&function.code, function.address),
        Place::EntryWithReturn | Place::Return => 0,
    };
    if row.place == Place::EntryWithReturn
        && !prologue::starts_cheap(&function.code, function.address)
    {
        plan.cheap = false;
    }
    plan.probes.push(Probe { program: row.program, offset: function.offset.saturating_add(moved) });
}

/// Where both forms of a call are thin wrappers of one inner function that begins with an emulated instruction,
/// two probes on the inner function replace four on the wrappers.
fn inner_probes(
    found: &Found,
    read: &impl Fn(u64) -> Option<Function>,
) -> Vec<([&'static str; 2], [Probe; 2])> {
    let target = |name: &str| {
        let function = found.functions.get(name)?;
        prologue::inner_call(&function.code, function.address)
    };
    openssl::WRAPPED
        .iter()
        .filter_map(|(plain, sized, programs, done)| {
            let (outer, inner) = (target(plain)?, target(sized)?);
            if outer.address != inner.address || found.functions.contains_key("SSL_write_ex2") {
                return None;
            }
            let program = programs.get(outer.written_argument.checked_sub(3)?)?;
            let function = read(outer.address)?;
            prologue::starts_cheap(&function.code, function.address).then(|| {
                let probe = |program| Probe { program, offset: function.offset };
                ([*plain, *sized], [probe(*program), probe(*done)])
            })
        })
        .collect()
}

fn channel_probe(found: &Found, read: &impl Fn(u64) -> Option<Function>) -> Option<Probe> {
    let function = found.functions.get(openssl::CHANNEL_KEY)?;
    let program = openssl::CHANNEL_ROW.program;
    let target = |name: &str| {
        let function = found.functions.get(name)?;
        prologue::inner_call(&function.code, function.address)
    };
    if let (Some(plain), Some(sized)) = (target("BIO_write"), target("BIO_write_ex"))
        && plain.address == sized.address
        && let Some(inner) = read(plain.address)
        && prologue::starts_cheap(&inner.code, inner.address)
    {
        return Some(Probe { program, offset: inner.offset });
    }
    let moved = prologue::entry_offset(&function.code, function.address);
    Some(Probe { program, offset: function.offset.saturating_add(moved) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_tls_has_an_empty_plan() {
        let mut planner = Planner::default();
        let plan = planner.plan(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(plan.probes.is_empty() && !plan.carries_data);
    }

    #[test]
    fn plan_is_made_once_a_file() {
        let mut planner = Planner::default();
        let file = File::open("/proc/self/exe").unwrap();
        let (first, second) = (planner.plan(&file).unwrap(), planner.plan(&file).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }
}
