//! Process ids come in; which TLS library they map and where its functions are goes out, and probes are attached there.

mod attached;
pub mod bare;
pub mod boringssl;
mod bounds;
mod called;
pub mod connections;
pub mod elf;
pub mod gnutls;
pub mod nss;
pub mod go;
pub mod go_table;
pub mod learned;
pub mod library;
mod mapped;
pub mod offsets;
pub mod openssl;
pub mod openssl_bare;
pub mod pclntab;
mod plan;
mod process;
pub mod prologue;
mod registry;
mod relocations;
pub mod ring;
pub mod row;
pub mod rustls;
pub mod search;
pub mod segments;
pub mod signature;
pub mod sockets;
pub mod strings;
pub mod structure;
mod trust;

pub use attached::{Attached, Rejected, Why};
pub use library::{Carried, Library, Resolution};
pub use mapped::{Mapping, executable_mappings, is_likely};
pub use plan::{Part, Plan, Planner, Probe, Searched};
pub use registry::Registry;

use std::io;

/// What can go wrong in finding and attaching functions.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the process could not be read: it has ended, or the file is gone.
    #[error("reading {what} of process {pid}")]
    Process {
        /// Process id.
        pid: u32,
        /// What was read.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no ELF file, or a broken one.
    #[error("reading the ELF file: {0}")]
    Elf(String),
    /// A probe was refused.
    #[error("attaching to {library}")]
    Attach {
        /// Name of the TLS library.
        library: &'static str,
        /// Why.
        #[source]
        source: crate::bpf::Error,
    },
}
