//! Settings come in; the loaded and attached kernel half goes out, as maps, rings and probe links. The only user of aya.

mod abi;
pub mod btf;
pub mod cgroup;
pub mod features;
mod gate;
mod gate_maps;
mod hurry;
mod kernel;
mod maps;
mod multi;
mod name_map;
mod raw;
mod ring;

pub use gate::{Gate, folder_of, has_lasting_probes};
pub use gate_maps::{GateMaps, Owner};
pub use hurry::Hurry;
pub use kernel::{Kernel, PacketLink, ProbeLink, Settings};
pub use maps::octets;
pub use maps::{AddressMap, Counters, Dropped, OpeningMap, ProcessMap, ProgramMap, VerdictMap};
pub use name_map::NameMap;
pub use raw::give_memory_back;
pub use ring::Ring;

use std::io;
use std::path::PathBuf;

/// What can go wrong between the agent and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the kernel could not be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's type information is broken or lacks a type.
    #[error("kernel type information (BTF): {0}")]
    Btf(String),
    /// The kernel refused the object file.
    #[error("loading the kernel half")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel refused one program.
    #[error("{step} program {program}")]
    Program {
        /// What was being done (`loading`, `attaching`).
        step: &'static str,
        /// Name of the program.
        program: String,
        /// Why.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The kernel refused one program that aya cannot load.
    #[error("{step} program {program}")]
    Raw {
        /// What was being done.
        step: &'static str,
        /// Name of the program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel half lacks a program or map, or carries another version of the ABI.
    #[error("the kernel half does not fit this agent: {0}")]
    Mismatch(String),
    /// A map could not be opened or changed.
    #[error("map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NoCgroup2,
}
