//! A folder of pins comes in; the gate's maps go out as typed handles, with or without an agent that runs.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf, SkStorage, SockHash};
use sensor_common::forms::{FORMS_LEN, Held};
use sensor_common::gate::{
    AiSocket, CLASS_NONE, GATE_COUNTERS, Gate, RULE_PART, RuleKey, Subject, Switches, Verdict,
};
use sensor_common::limits::{FORMS_MAX, REASON_BYTES_MAX};
use sensor_common::scan::SCANNER_TABLE_LEN;

use super::raw::Abi;
use super::{Error, Ring};

/// Whose switches are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The agent's, from its orders.
    Agent = 0,
    /// Those of a panic, which anybody may set.
    Panic = 1,
}

/// Maps of the gate that the agent writes and reads.
pub struct GateMaps {
    switches: Array<MapData, Abi<Switches>>,
    processes: HashMap<MapData, u32, Abi<Subject>>,
    cgroups: HashMap<MapData, u64, Abi<Subject>>,
    scopes: HashMap<MapData, u32, u32>,
    rules: HashMap<MapData, Abi<RuleKey>, Abi<Verdict>>,
    names: HashMap<MapData, u64, u32>,
    addresses: HashMap<MapData, [u8; 16], u32>,
    dedicated: HashMap<MapData, [u8; 16], u32>,
    marks: HashMap<MapData, u64, Abi<Verdict>>,
    sockets: HashMap<MapData, u64, Abi<AiSocket>>,
    watched: SockHash<MapData, u64>,
    gates: SkStorage<MapData, Abi<Gate>>,
    words: HashMap<MapData, u32, [u8; REASON_BYTES_MAX]>,
    scanner: Array<MapData, [u16; SCANNER_TABLE_LEN]>,
    held: Array<MapData, Abi<Held>>,
    forms: Array<MapData, [u16; FORMS_LEN]>,
    key_states: Array<MapData, [[u32; 8]; 2]>,
    counts: Array<MapData, u64>,
}

fn failed(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |source| Error::Map { map, source: Box::new(source) }
}

fn open<T: TryFrom<Map, Error = MapError>>(
    folder: &Path,
    name: &'static str,
    kind: fn(MapData) -> Map,
) -> Result<T, Error> {
    let data = MapData::from_pin(folder.join(name)).map_err(failed(name))?;
    T::try_from(kind(data)).map_err(failed(name))
}

/// Keys and values of a map; elements that change meanwhile are left out.
fn all<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>) -> Vec<(K, V)> {
    map.iter().filter_map(Result::ok).collect()
}

fn put<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    key: K,
    value: Option<V>,
) -> Result<(), Error> {
    match value {
        Some(value) => map.insert(key, value, 0).map_err(failed(name)),
        None => match map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            // The kernel says that there is no such element.
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Err(error) => Err(failed(name)(error)),
        },
    }
}

/// Where an automaton is kept, and what stands there then: it is the last to give way, also where it is kept already.
fn newest(held: &[Held], number: u32) -> (u32, Held) {
    let last = held.iter().map(|held| held.sequence).max().unwrap_or(0);
    let known = (0..).zip(held).find(|(_, held)| held.number == number);
    if let Some((place, held)) = known.filter(|(_, held)| held.sequence == last) {
        return (place, *held);
    }
    let place = known.or_else(|| (0..).zip(held).min_by_key(|(_, held)| held.sequence));
    (place.map_or(0, |(place, _)| place), Held { number, sequence: last.saturating_add(1) })
}

impl GateMaps {
    /// Opens the maps that are pinned in a version's folder.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            switches: open(folder, "SWITCHES", Map::Array)?,
            processes: open(folder, "SUBJECT_PROCESSES", Map::HashMap)?,
            cgroups: open(folder, "SUBJECT_CGROUPS", Map::HashMap)?,
            scopes: open(folder, "SCOPES", Map::HashMap)?,
            rules: open(folder, "RULES", Map::HashMap)?,
            names: open(folder, "DESTINATION_NAMES", Map::HashMap)?,
            addresses: open(folder, "DESTINATION_ADDRESSES", Map::LruHashMap)?,
            dedicated: open(folder, "DEDICATED_ADDRESSES", Map::HashMap)?,
            marks: open(folder, "MARKS", Map::LruHashMap)?,
            sockets: open(folder, "AI_SOCKETS", Map::LruHashMap)?,
            watched: open(folder, "WATCHED", Map::SockHash)?,
            gates: open(folder, "GATES", Map::SkStorage)?,
            words: open(folder, "REASON_WORDS", Map::HashMap)?,
            scanner: open(folder, "SCANNER", Map::Array)?,
            held: open(folder, "FORMS_HELD", Map::Array)?,
            forms: open(folder, "FORMS", Map::Array)?,
            key_states: open(folder, "KEY_STATES", Map::Array)?,
            counts: open(folder, "GATE_COUNTS", Map::Array)?,
        })
    }

    /// The ring of what the gate did.
    pub fn events(folder: &Path) -> Result<Ring, Error> {
        open::<RingBuf<_>>(folder, "GATE_EVENTS", Map::RingBuf).map(Ring::new)
    }

    /// The switches as they are: the agent's, or those of a panic.
    pub fn switches(&self, owner: Owner) -> Result<Switches, Error> {
        self.switches.get(&(owner as u32), 0).map(|found| found.0).map_err(failed("SWITCHES"))
    }

    /// Sets the switches of one owner; the other's stay.
    pub fn set_switches(&mut self, owner: Owner, switches: Switches) -> Result<(), Error> {
        self.switches.set(owner as u32, Abi(switches), 0).map_err(failed("SWITCHES"))
    }

    /// Keeps the words of a reason.
    pub fn set_words(&mut self, reason: u32, words: &str) -> Result<(), Error> {
        let mut bytes = [0u8; REASON_BYTES_MAX];
        bytes.iter_mut().zip(words.bytes()).for_each(|(to, from)| *to = from);
        put(&mut self.words, "REASON_WORDS", reason, Some(bytes))
    }

    /// Forgets the words of reasons that are not kept, where there are more than `most`.
    pub fn keep_words(&mut self, is_kept: impl Fn(u32) -> bool, most: usize) -> Result<(), Error> {
        let known: Vec<u32> = self.words.keys().filter_map(Result::ok).collect();
        if known.len() <= most {
            return Ok(());
        }
        for reason in known.into_iter().filter(|reason| !is_kept(*reason)) {
            put(&mut self.words, "REASON_WORDS", reason, None)?;
        }
        Ok(())
    }

    /// The words of a reason, if they were kept.
    pub fn words(&self, reason: u32) -> Option<String> {
        let bytes = self.words.get(&reason, 0).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }

    /// Class of a process, if it has one of its own.
    pub fn process(&self, pid: u32) -> Option<Subject> {
        self.processes.get(&pid, 0).ok().map(|subject| subject.0)
    }

    /// Class of a cgroup, if it has one of its own.
    pub fn cgroup(&self, id: u64) -> Option<Subject> {
        self.cgroups.get(&id, 0).ok().map(|subject| subject.0)
    }

    /// What is in force for a class.
    pub fn scope(&self, class: u32) -> u32 {
        self.scopes.get(&class, 0).unwrap_or(0)
    }

    /// Classes by process.
    pub fn processes(&self) -> Vec<(u32, Subject)> {
        all(&self.processes).into_iter().map(|(pid, subject)| (pid, subject.0)).collect()
    }

    /// Gives a process a class, or takes it away.
    pub fn set_process(&mut self, pid: u32, subject: Option<Subject>) -> Result<(), Error> {
        put(&mut self.processes, "SUBJECT_PROCESSES", pid, subject.map(Abi))
    }

    /// Classes by cgroup.
    pub fn cgroups(&self) -> Vec<(u64, Subject)> {
        all(&self.cgroups).into_iter().map(|(id, subject)| (id, subject.0)).collect()
    }

    /// Gives a cgroup and all below it a class, or takes it away.
    pub fn set_cgroup(&mut self, id: u64, subject: Option<Subject>) -> Result<(), Error> {
        put(&mut self.cgroups, "SUBJECT_CGROUPS", id, subject.map(Abi))
    }

    /// What is in force for each class.
    pub fn scopes(&self) -> Vec<(u32, u32)> {
        all(&self.scopes)
    }

    /// Says what is in force for a class, or that nothing is.
    pub fn set_scope(&mut self, class: u32, scope: Option<u32>) -> Result<(), Error> {
        put(&mut self.scopes, "SCOPES", class, scope)
    }

    /// Verdicts.
    pub fn rules(&self) -> Vec<(RuleKey, Verdict)> {
        all(&self.rules).into_iter().map(|(key, verdict)| (key.0, verdict.0)).collect()
    }

    /// Sets a verdict, or takes it away.
    pub fn set_rule(&mut self, key: RuleKey, verdict: Option<Verdict>) -> Result<(), Error> {
        put(&mut self.rules, "RULES", Abi(key), verdict.map(Abi))
    }

    /// The destination that stands for the whole of a provider, of one that may be a part of its hosts.
    pub fn whole(&self, destination: u32) -> u32 {
        let value = [u64::from(destination), 0];
        let key = RuleKey { class: CLASS_NONE, kind: RULE_PART, value };
        self.rules.get(&Abi(key), 0).map_or(destination, |verdict| verdict.0.reason)
    }

    /// Where a name leads.
    pub fn name(&self, key: u64) -> Option<u32> {
        self.names.get(&key, 0).ok()
    }

    /// Destinations by the key of their name.
    pub fn names(&self) -> Vec<(u64, u32)> {
        all(&self.names)
    }

    /// Says where a name leads, or that it leads nowhere.
    pub fn set_name(&mut self, key: u64, destination: Option<u32>) -> Result<(), Error> {
        put(&mut self.names, "DESTINATION_NAMES", key, destination)
    }

    /// Says where an address may lead, by a DNS answer.
    pub fn set_address(&mut self, address: IpAddr, destination: u32) -> Result<(), Error> {
        let key = super::maps::octets(address);
        put(&mut self.addresses, "DESTINATION_ADDRESSES", key, Some(destination))
    }

    /// Addresses that lead to one destination and nowhere else, as the gate keeps them.
    pub fn dedicated(&self) -> Vec<([u8; 16], u32)> {
        all(&self.dedicated)
    }

    /// Says that an address leads to one destination and nowhere else, or no longer.
    pub fn set_dedicated(&mut self, key: [u8; 16], destination: Option<u32>) -> Result<(), Error> {
        put(&mut self.dedicated, "DEDICATED_ADDRESSES", key, destination)
    }

    /// Sets a verdict on one socket, or takes it away.
    pub fn set_mark(&mut self, cookie: u64, verdict: Option<Verdict>) -> Result<(), Error> {
        put(&mut self.marks, "MARKS", cookie, verdict.map(Abi))
    }

    /// Sockets that lead to AI providers.
    pub fn sockets(&self) -> Vec<(u64, AiSocket)> {
        all(&self.sockets).into_iter().map(|(cookie, socket)| (cookie, socket.0)).collect()
    }

    /// Notes a socket that leads to an AI provider, or forgets it.
    pub fn set_socket(&mut self, cookie: u64, socket: Option<AiSocket>) -> Result<(), Error> {
        put(&mut self.sockets, "AI_SOCKETS", cookie, socket.map(Abi))
    }

    /// Notes a socket that leads to an AI provider, unless the gate itself has noted it.
    pub fn add_socket(&mut self, cookie: u64, socket: AiSocket) -> Result<(), Error> {
        const ONLY_NEW: u64 = 1;
        match self.sockets.insert(cookie, Abi(socket), ONLY_NEW) {
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            outcome => outcome.map_err(failed("AI_SOCKETS")),
        }
    }

    /// Puts a socket that is older than the gate under watch.
    pub fn enrol(&mut self, socket: &impl AsRawFd, gate: Gate) -> Result<(), Error> {
        self.gates.insert(socket, Abi(gate), 0).map_err(failed("GATES"))?;
        self.watched.insert(gate.cookie, socket.as_raw_fd(), 0).map_err(failed("WATCHED"))
    }

    /// Sets the scanner of requests.
    pub fn set_scanner(&mut self, table: &[u16]) -> Result<(), Error> {
        let wrong = |_| Error::Mismatch("the scanner has another size".to_owned());
        let table: &[u16; SCANNER_TABLE_LEN] = table.try_into().map_err(wrong)?;
        self.scanner.set(0, table, 0).map_err(failed("SCANNER"))
    }

    /// Keeps an automaton of models' names, as the newest: where it is kept already, else in the place of the oldest.
    pub fn hold_forms(&mut self, number: u32, table: &[u16]) -> Result<(), Error> {
        let held: Vec<Held> =
            (0..FORMS_MAX).filter_map(|at| self.held.get(&at, 0).ok()).map(|held| held.0).collect();
        let (place, newest) = newest(&held, number);
        let before = held.iter().zip(0..).find(|(_, at)| *at == place).map(|(held, _)| *held);
        if before == Some(newest) {
            return Ok(());
        }
        if before.is_some_and(|before| before.number == number) {
            return self.held.set(place, Abi(newest), 0).map_err(failed("FORMS_HELD"));
        }
        // Who goes by the one that gives way finds none, and not a half of each.
        self.held.set(place, Abi(Held::default()), 0).map_err(failed("FORMS_HELD"))?;
        let mut whole = table.to_vec();
        whole.resize(FORMS_LEN, 0);
        let wrong = |_| Error::Mismatch("the automaton has another size".to_owned());
        let whole: &[u16; FORMS_LEN] = whole.as_slice().try_into().map_err(wrong)?;
        self.forms.set(place, whole, 0).map_err(failed("FORMS"))?;
        self.held.set(place, Abi(newest), 0).map_err(failed("FORMS_HELD"))
    }

    /// Sets the hash's states behind the inner and the outer key of fingerprints.
    pub fn set_key_states(&mut self, states: [[u32; 8]; 2]) -> Result<(), Error> {
        self.key_states.set(0, states, 0).map_err(failed("KEY_STATES"))
    }

    /// What the gate counted, by name.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        (0u32..)
            .zip(GATE_COUNTERS)
            .map(|(index, name)| (name, self.counts.get(&index, 0).unwrap_or(0)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is held after automata have come into force one after the other.
    fn held_after(numbers: &[u32]) -> [u32; 3] {
        let mut held = [Held::default(); 3];
        for number in numbers {
            let (place, newest) = newest(&held, *number);
            held[usize::try_from(place).unwrap()] = newest;
        }
        held.map(|held| held.number)
    }

    #[test]
    fn automaton_that_is_in_force_again_is_not_the_one_that_gives_way() {
        assert_eq!(held_after(&[7, 8, 9]), [7, 8, 9]);
        assert_eq!(held_after(&[7, 8, 9, 10]), [10, 8, 9]);
        // A policy that was taken back: the place of the first is not written while it is in force.
        assert_eq!(held_after(&[7, 8, 9, 7, 10]), [7, 10, 9]);
        assert_eq!(held_after(&[7, 7, 7, 8]), [7, 8, 0]);
    }
}
