//! Folders come in; the policy documents and versions that they hold go out.

mod documents;
mod history;

pub use documents::documents;
pub use documents::tested;
pub use documents::tests_of;
pub use history::History;
pub use history::Version;

use std::io;
use std::path::PathBuf;

/// Why a folder of policies could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read.
    #[error("reading {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("writing {path}")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder could not be kept from being changed by others.
    #[error("locking {path}")]
    Lock {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More files than a folder of policies may hold.
    #[error("reading {path}: more than {max} files")]
    Many {
        /// The folder.
        path: PathBuf,
        /// How many it may hold.
        max: usize,
    },
    /// A version that is not kept.
    #[error("going back to version {number}: it is not among those kept")]
    NoVersion {
        /// Its number.
        number: u64,
    },
    /// Nothing is known to have been in force before the current version.
    #[error(
        "going back: no version is known to have been in force before this one; name one of `tollgate policy history`"
    )]
    NoEarlier,
}
