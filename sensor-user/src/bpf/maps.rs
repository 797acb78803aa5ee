//! Maps of the kernel half come in; typed handles for the stages that write or read them go out.

use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use sensor_common::names;
use sensor_common::state::{COUNTERS, PROCESS_PROBED, PROCESS_SHOWS_HELLOS};

use super::Error;

/// Takes a map out of the loaded object.
pub(super) fn take<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, Error> {
    let map =
        ebpf.take_map(name).ok_or_else(|| Error::Mismatch(format!("it has no map {name}")))?;
    T::try_from(map).map_err(|source| Error::Map { map: name, source: Box::new(source) })
}

pub(super) fn failed(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |source| Error::Map { map, source: Box::new(source) }
}

/// The agent's verdicts on connections, by connection id.
pub struct VerdictMap(pub(super) HashMap<MapData, u64, u32>);

impl VerdictMap {
    /// Tells the kernel half what to do with a connection (`sensor_common::state::VERDICT_…`).
    pub fn set(&mut self, connection: u64, verdict: u32) -> Result<(), Error> {
        self.0.insert(connection, verdict, 0).map_err(failed(names::MAP_VERDICTS))
    }
}

/// Processes that carry probes.
pub struct ProcessMap(pub(super) HashMap<MapData, u32, u32>);

impl ProcessMap {
    /// Marks a process: its forks and its end are reported from now on. Where all its libraries show their ClientHellos, so
    /// is one that none of them has shown.
    pub fn mark(&mut self, pid: u32, shows_hellos: bool) -> Result<(), Error> {
        let marks = PROCESS_PROBED | if shows_hellos { PROCESS_SHOWS_HELLOS } else { 0 };
        self.0.insert(pid, marks, 0).map_err(failed(names::MAP_PROCESSES))
    }

    /// Takes the mark away; a process that has none is not an error.
    pub fn unmark(&mut self, pid: u32) {
        let _gone = self.0.remove(&pid);
    }
}

/// Addresses of AI providers, learnt from DNS answers.
pub struct AddressMap(pub(super) HashMap<MapData, [u8; 16], u32>);

impl AddressMap {
    /// Adds an address; the least recently used one gives way when the map is full.
    pub fn add(&mut self, address: IpAddr) -> Result<(), Error> {
        self.0.insert(octets(address), 1, 0).map_err(failed(names::MAP_ADDRESSES))
    }
}

/// An address as the kernel half keeps it: IPv4 in the first four bytes.
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

/// Short names of programs that made AI calls before.
pub struct ProgramMap(pub(super) HashMap<MapData, [u8; 16], u32>);

impl ProgramMap {
    /// Adds the short name (`comm`) that a program's file name gives a process: its first fifteen bytes.
    pub fn add(&mut self, file_name: &str) -> Result<(), Error> {
        let mut comm = [0u8; 16];
        for (to, from) in comm.iter_mut().take(15).zip(file_name.bytes()) {
            *to = from;
        }
        self.0.insert(comm, 1, 0).map_err(failed(names::MAP_PROGRAMS))
    }
}

/// Sockets whose ClientHello is under way.
pub struct OpeningMap(pub(super) HashMap<MapData, u64, u32>);

impl OpeningMap {
    /// Tells the kernel half that no more of a socket's first bytes is wanted; one that has ended is not an error.
    pub fn remove(&mut self, cookie: u64) {
        let _gone = self.0.remove(&cookie);
    }
}

/// What the kernel half dropped, by reason.
pub struct Counters {
    pub(super) records: Array<MapData, u64>,
    pub(super) bytes: Array<MapData, u64>,
}

/// What was dropped for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Records, or times.
    pub records: u64,
    /// Plaintext bytes that they would have held.
    pub bytes: u64,
}

impl Counters {
    /// Reads all counters with their names.
    pub fn read(&self) -> Vec<(&'static str, Dropped)> {
        let counted = |counters: &Array<MapData, u64>, index| counters.get(&index, 0).unwrap_or(0);
        (0u32..)
            .zip(COUNTERS)
            .map(|(index, name)| {
                let records = counted(&self.records, index);
                (name, Dropped { records, bytes: counted(&self.bytes, index) })
            })
            .collect()
    }
}
