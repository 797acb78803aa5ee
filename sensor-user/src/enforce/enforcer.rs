//! Orders come in; the maps of the gate say the same goes out, without a moment in which less is in force than before and
//! after.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sensor_common::gate::{
    CLASS_EVERY, RULE_CLASS, RULE_FORMS, RuleKey, SCOPE_CONTENT, Subject, Switches, Verdict,
};
use sensor_common::limits::REASONS_MAX;
use sensor_common::sha256::{ROUNDS, START, round, schedule};

use crate::bpf::Gate;
use crate::bpf::GateMaps;
use crate::bpf::Owner;
use crate::enforce::{Error, Orders, Told};
use crate::policy::Forms;
use crate::provider::catalogue::Provider;

use super::panic::is_panic;
use super::{health, leads, scanner, words};

/// Two threads tell the gate: neither may take the place that the other writes an automaton to, nor the words away that the
/// other has just written.
static ALONE: Mutex<()> = Mutex::new(());
/// Reasons whose words are kept before those that nobody has any more are forgotten.
const WORDS_MANY: usize = REASONS_MAX as usize / 2;

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Elements written.
    pub written: usize,
    /// Elements taken away.
    pub removed: usize,
}

/// Owns the maps of the gate for the agent.
pub struct Enforcer {
    maps: GateMaps,
}

impl Enforcer {
    /// Opens the maps of a loaded gate and teaches it to read requests; `key` is the key of fingerprints.
    pub fn new(gate: &Gate, key: &[u8; 32]) -> Result<Self, Error> {
        let mut maps = GateMaps::open(gate.folder())?;
        maps.set_scanner(&scanner::table())?;
        maps.set_key_states(key_states(key))?;
        Ok(Self { maps })
    }

    /// Takes the maps of a gate that was taught already.
    pub fn of(maps: GateMaps) -> Self {
        Self { maps }
    }

    /// Writes what is new or different, then takes away what is no longer ordered. Panics are left alone.
    pub fn apply(&mut self, orders: &Orders) -> Result<Applied, Error> {
        let mut done = Applied::default();
        let told = alone();
        let rules: HashMap<_, _> = self.maps.rules().into_iter().collect();
        let before = rules.values().map(|verdict| verdict.reason);
        let names = rules.keys().filter(|key| is_panic(key)).map(words::name_of);
        let kept: HashSet<_> = before.chain(orders.words.keys().copied()).chain(names).collect();
        self.maps.keep_words(|reason| kept.contains(&reason), WORDS_MANY)?;
        let words: Vec<_> =
            orders.words.iter().map(|(reason, words)| (*reason, &**words)).collect();
        self.say(&words);
        self.hold(orders.forms.as_deref())?;
        drop(told);
        // An automaton comes into force when all that is said of its forms is there.
        let is_forms = |(key, _): &(&RuleKey, &Verdict)| key.kind == RULE_FORMS;
        let (last, first): (Vec<_>, Vec<_>) = orders.rules.iter().partition(is_forms);
        for (key, verdict) in first.into_iter().chain(last) {
            if rules.get(key) != Some(verdict) {
                self.maps.set_rule(*key, Some(*verdict))?;
                done.written = done.written.saturating_add(1);
            }
        }
        // A name leads elsewhere only when what is said there is in force.
        let names: HashMap<_, _> = self.maps.names().into_iter().collect();
        for (key, destination) in &orders.names {
            if names.get(key) != Some(destination) {
                self.maps.set_name(*key, Some(*destination))?;
                done.written = done.written.saturating_add(1);
            }
        }
        for (key, destination) in &orders.addresses {
            self.maps.set_dedicated(*key, Some(*destination))?;
        }
        for (class, scope) in &orders.scopes {
            self.maps.set_scope(*class, Some(*scope))?;
        }
        self.subjects(orders)?;
        // Also without orders: the agent's proofs are subjects too.
        let switches = Switches { active: 1, ancestors: 1, ..Switches::default() };
        self.maps.set_switches(Owner::Agent, switches)?;
        for key in rules.keys() {
            let is_panic = key.class == CLASS_EVERY || key.kind == RULE_CLASS;
            if !is_panic && !health::is_own(key.class) && !orders.rules.contains_key(key) {
                self.maps.set_rule(*key, None)?;
                done.removed = done.removed.saturating_add(1);
            }
        }
        let own: Vec<_> = health::own_names().collect();
        for (key, _) in names {
            if !own.contains(&key) && !orders.names.contains_key(&key) {
                self.maps.set_name(key, None)?;
            }
        }
        for (key, _) in self.maps.dedicated() {
            if key != health::own_address() && !orders.addresses.contains_key(&key) {
                self.maps.set_dedicated(key, None)?;
            }
        }
        for (class, _) in self.maps.scopes() {
            if !health::is_own(class) && !orders.scopes.contains_key(&class) {
                self.maps.set_scope(class, None)?;
            }
        }
        Ok(done)
    }

    fn subjects(&mut self, orders: &Orders) -> Result<(), Error> {
        for (id, class) in &orders.cgroups {
            let subject = Subject { class: *class, ..Subject::default() };
            self.maps.set_cgroup(*id, Some(subject))?;
        }
        for (pid, class) in &orders.processes {
            let subject = Subject { class: *class, ..Subject::default() };
            self.maps.set_process(*pid, Some(subject))?;
        }
        for (id, _) in self.maps.cgroups() {
            if !orders.cgroups.contains_key(&id) {
                self.maps.set_cgroup(id, None)?;
            }
        }
        for (pid, subject) in self.maps.processes() {
            let is_gone = !Path::new("/proc").join(pid.to_string()).exists();
            let is_told =
                health::is_own(subject.class) || orders.scopes.contains_key(&subject.class);
            if is_gone || !is_told {
                self.maps.set_process(pid, None)?;
            }
        }
        Ok(())
    }

    /// Where a host of a provider leads, as the gate knows it now.
    pub fn destination(&self, host: &str, provider: &Provider) -> u32 {
        let found = leads::find(host, |key| self.maps.name(key));
        found.unwrap_or_else(|| words::destination(&provider.id))
    }

    /// Puts a process into the class of its cgroup, if content is judged there; `cgroup` is its cgroup's folder.
    pub fn admit(&mut self, pid: u32, cgroup: &Path) -> Result<(), Error> {
        if self.maps.process(pid).is_some() {
            return Ok(());
        }
        let Some(class) = self.class_of(cgroup) else { return Ok(()) };
        if self.maps.scope(class) & SCOPE_CONTENT != 0 {
            let subject = Subject { class, ..Subject::default() };
            self.maps.set_process(pid, Some(subject))?;
        }
        Ok(())
    }

    /// Puts a process into the class of what it is told; a class that is new comes before its first process.
    pub fn tell(&mut self, pid: u32, told: &Told) -> Result<(), Error> {
        if self.maps.scope(told.class) != told.scope {
            told.tell_what_is_left();
            let _alone = alone();
            self.hold(told.forms.as_deref())?;
            for (key, verdict, why) in told.verdicts(told.class) {
                self.say(&[(verdict.reason, why)]);
                self.maps.set_rule(key, Some(verdict))?;
            }
            self.maps.set_scope(told.class, Some(told.scope))?;
        }
        let subject = Subject { class: told.class, ..Subject::default() };
        Ok(self.maps.set_process(pid, Some(subject))?)
    }

    /// Keeps the words of reasons, for events. What there is no room for is refused all the same: the event has its number.
    fn say(&mut self, words: &[(u32, &str)]) {
        let mut left = 0_usize;
        for (reason, words) in words.iter().filter(|(_, words)| !words.is_empty()) {
            left = left.saturating_add(usize::from(self.maps.set_words(*reason, words).is_err()));
        }
        if left != 0 {
            tracing::warn!(
                left,
                "reasons are more than the kernel keeps the words of: events tell their numbers"
            );
        }
    }

    /// Has the gate keep an automaton.
    fn hold(&mut self, forms: Option<&Forms>) -> Result<(), Error> {
        let Some(forms) = forms else { return Ok(()) };
        Ok(self.maps.hold_forms(forms.number, &forms.table)?)
    }

    /// Class of a cgroup, or of the nearest one above it that has one.
    fn class_of(&self, cgroup: &Path) -> Option<u32> {
        let mut inodes = cgroup.ancestors().filter_map(|folder| fs::metadata(folder).ok());
        inodes.find_map(|meta| self.maps.cgroup(meta.ino()).map(|subject| subject.class))
    }

    /// Refuses everything that is written on a socket from now on.
    pub fn mark(&mut self, cookie: u64, verdict: Verdict) -> Result<(), Error> {
        Ok(self.maps.set_mark(cookie, Some(verdict))?)
    }

    /// The maps themselves.
    pub fn maps(&mut self) -> &mut GateMaps {
        &mut self.maps
    }
}

/// States of the hash behind the inner and the outer key (RFC 2104, 4).
fn key_states(key: &[u8; 32]) -> [[u32; 8]; 2] {
    [0x36u8, 0x5c].map(|pad| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(to, from)| *to ^= from);
        let state = compress(START, &block);
        zeroize::Zeroize::zeroize(&mut block);
        state
    })
}

/// The next state of the hash behind a block.
fn compress(start: [u32; 8], block: &[u8; 64]) -> [u32; 8] {
    let mut words: Vec<u32> = block
        .chunks_exact(4)
        .map(|word| word.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte)))
        .collect();
    let mut state = start;
    for (index, constant) in ROUNDS.into_iter().enumerate() {
        let at = |place: usize| words.get(index.saturating_add(place)).copied().unwrap_or(0);
        state = round(state, at(0), constant);
        words.push(schedule(at(0), at(1), at(9), at(14)));
    }
    std::array::from_fn(|place| {
        let of = |state: &[u32; 8]| state.get(place).copied().unwrap_or(0);
        of(&state).wrapping_add(of(&start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{FleetKey, Keyring};
    use crate::enforce::orders::fingerprint;
    use crate::redact::Redacted;

    /// What the gate computes: one padded block behind each key.
    fn by_states(key: &[u8; 32], text: &[u8]) -> [u64; 2] {
        let [inner, outer] = key_states(key);
        let last = |text: &[u8]| {
            let mut block = [0u8; 64];
            block[..text.len()].copy_from_slice(text);
            block[text.len()] = 0x80;
            let bits = u16::try_from(text.len().saturating_add(64).saturating_mul(8)).unwrap();
            block[62..].copy_from_slice(&bits.to_be_bytes());
            block
        };
        let hash = compress(inner, &last(text));
        let bytes: Vec<u8> = hash.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mac = compress(outer, &last(&bytes));
        [(mac[0], mac[1]), (mac[2], mac[3])]
            .map(|(high, low)| (u64::from(high) << 32) | u64::from(low))
    }

    #[test]
    fn gate_and_keyring_make_the_same_fingerprint() {
        let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let keyring = Keyring::new(FleetKey::new(key));
        let text = "sk-test-not-a-key-0123456789";
        let identity = keyring.identify_secret(&Redacted::new(text.as_bytes().to_vec()), "openai");
        assert_eq!(fingerprint(&identity.fingerprint).unwrap(), by_states(&key, text.as_bytes()));
    }
}
