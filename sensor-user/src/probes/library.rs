//! Words for what was found come in one place: the TLS libraries that are known, and how their functions were found.

use std::fs::File;

use sensor_common::record::{
    FAMILY_AEAD, FAMILY_GNUTLS, FAMILY_GO, FAMILY_NSS, FAMILY_OPENSSL, FLAG_FAMILY_MASK,
};

use super::mapped::executable_mappings;
use super::{boringssl, gnutls, go, nss, openssl, rustls, sockets};

/// A TLS library with a file of its own in this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// OpenSSL and what kept its calls and symbols.
    OpenSsl,
    /// BoringSSL inside an executable, without symbols.
    BoringSsl,
    /// GnuTLS.
    GnuTls,
    /// Go's `crypto/tls`.
    Go,
    /// rustls, on aws-lc or on ring.
    Rustls,
    /// NSS, called through NSPR.
    Nss,
    /// The C library: no TLS, but what libraries without a channel send through.
    Sockets,
}

/// Every library with connections.
pub const LIBRARIES: [Library; 6] = [
    Library::OpenSsl,
    Library::BoringSsl,
    Library::GnuTls,
    Library::Go,
    Library::Rustls,
    Library::Nss,
];

impl Library {
    /// The name in events (`tls.library`) and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenSsl => openssl::LIBRARY,
            Self::BoringSsl => boringssl::LIBRARY,
            Self::GnuTls => gnutls::LIBRARY,
            Self::Go => go::LIBRARY,
            Self::Rustls => rustls::LIBRARY,
            Self::Nss => nss::LIBRARY,
            Self::Sockets => sockets::NAME,
        }
    }

    /// The family that the kernel half sets in the flags of its connections.
    pub fn family(self) -> u32 {
        match self {
            Self::OpenSsl | Self::BoringSsl => FAMILY_OPENSSL,
            Self::GnuTls => FAMILY_GNUTLS,
            Self::Go => FAMILY_GO,
            Self::Rustls => FAMILY_AEAD,
            Self::Nss => FAMILY_NSS,
            // No connection has it.
            Self::Sockets => FLAG_FAMILY_MASK,
        }
    }

    /// Whether it seals and opens with different objects, which only the packets of a connection bring together.
    pub fn is_paired_by_packets(self) -> bool {
        matches!(self, Self::Rustls)
    }

    /// Whether it puts its records out by the C library, so that their bytes are seen there.
    pub fn sends_by_libc(self) -> bool {
        matches!(self, Self::GnuTls | Self::Nss)
    }
}

/// How the functions of a library were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resolution {
    /// By their names in a symbol table.
    Symbols,
    /// By a row of known offsets for this build.
    Offsets,
    /// By masked patterns of their code that match exactly once.
    Signature,
    /// By what refers to them: strings, unwind tables, tables of a runtime.
    Structure,
}

impl Resolution {
    /// The value of `tollgate.tls.resolved_by`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symbols => "symbols",
            Self::Offsets => "offsets",
            Self::Signature => "signature",
            Self::Structure => "structure",
        }
    }
}

/// A library that a file carries, with the functions that move plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Carried {
    /// Which library.
    pub library: Library,
    /// How its functions were found.
    pub resolution: Resolution,
}

impl Carried {
    /// Whether the places of its functions are a guess, however good: nothing in the file names them.
    pub fn is_guessed(self) -> bool {
        let bare = matches!(self.library, Library::OpenSsl | Library::BoringSsl);
        bare && self.resolution != Resolution::Symbols
    }
}

/// Which of the libraries that a process carries a connection of a family belongs to; where two of the family are found
/// by different ways, only what they agree on is said.
pub fn of_family(carried: &[Carried], family: u32) -> (Option<Library>, Option<Resolution>) {
    let of_family = || carried.iter().filter(|carried| carried.library.family() == family);
    let Some(first) = of_family().next() else {
        return (LIBRARIES.into_iter().find(|library| library.family() == family), None);
    };
    let library = of_family().all(|other| other.library == first.library).then_some(first.library);
    let same_way = of_family().all(|other| other.resolution == first.resolution);
    (library, same_way.then_some(first.resolution))
}

/// Why a process without a known library is blind.
pub fn why_blind(pid: u32) -> &'static str {
    let mappings = executable_mappings(pid).unwrap_or_default();
    let maps = |name: &str| mappings.iter().any(|mapping| mapping.file_name().starts_with(name));
    if maps("libjvm.so") {
        // A Java machine makes its TLS code while it runs: no file has it.
        return "jsse";
    }
    if maps("libnss3.so") {
        return "nss";
    }
    let executable = File::open(format!("/proc/{pid}/exe"));
    if executable.is_ok_and(|file| go::is_go(&file)) {
        return "go_functions_not_found";
    }
    "tls_library_not_supported"
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_NAME: Carried = Carried { library: Library::OpenSsl, resolution: Resolution::Symbols };
    const BY_ROW: Carried = Carried { library: Library::OpenSsl, resolution: Resolution::Offsets };

    #[test]
    fn connection_has_the_one_library_of_its_family() {
        let found = of_family(&[BY_NAME, BY_NAME], FAMILY_OPENSSL);
        assert_eq!(found, (Some(Library::OpenSsl), Some(Resolution::Symbols)));
    }

    #[test]
    fn way_is_left_out_where_two_files_differ() {
        let found = of_family(&[BY_NAME, BY_ROW], FAMILY_OPENSSL);
        assert_eq!(found, (Some(Library::OpenSsl), None));
    }

    #[test]
    fn unknown_process_still_has_the_family() {
        assert_eq!(of_family(&[], FAMILY_OPENSSL), (Some(Library::OpenSsl), None));
        assert_eq!(of_family(&[], 15), (None, None));
    }
}
