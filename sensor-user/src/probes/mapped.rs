//! A process id comes in; the files it maps executable go out, each with a way to open it that survives deletion.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Error;

/// One file that a process maps executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Address range as `/proc/PID/map_files` names it.
    pub range: String,
    /// Device, as the map shows it.
    pub device: String,
    /// Inode.
    pub inode: u64,
    /// Path as the process sees it, ` (deleted)` cut off.
    pub path: String,
}

impl Mapping {
    /// Opens the mapped file itself, wherever its path leads by now.
    pub fn open(&self, pid: u32) -> Result<File, Error> {
        let link = PathBuf::from(format!("/proc/{pid}/map_files/{}", self.range));
        let through_root = || File::open(format!("/proc/{pid}/root{}", self.path));
        File::open(link)
            .or_else(|error| through_root().map_err(|_also| error))
            .map_err(|source| Error::Process { pid, what: "a mapped file", source })
    }

    /// File name without folders.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Lists the files that a process maps executable, each once.
pub fn executable_mappings(pid: u32) -> Result<Vec<Mapping>, Error> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps"))
        .map_err(|source| Error::Process { pid, what: "the memory map", source })?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Vec<Mapping> {
    let mut seen = BTreeSet::new();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(6, ' ');
            let (range, permissions) = (fields.next()?, fields.next()?);
            let _offset = fields.next()?;
            let (device, inode) = (fields.next()?, fields.next()?.parse().ok()?);
            let path = fields.next()?.trim_start();
            let file = permissions.contains('x') && inode != 0 && path.starts_with('/');
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            (file && seen.insert((device.to_owned(), inode))).then(|| Mapping {
                range: range.to_owned(),
                device: device.to_owned(),
                inode,
                path: path.to_owned(),
            })
        })
        .collect()
}

/// Device and inode of a file, written as the memory map writes them where the file system shows the same device.
pub(super) fn identity_of(file: &File) -> Option<(String, u64)> {
    let meta = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    Some((format!("{major:02x}:{minor:02x}"), meta.ino()))
}

/// Whether a file name is that of a C library.
pub(super) fn is_libc(name: &str) -> bool {
    ["libc.so", "libc-", "ld-musl", "libc.musl"].iter().any(|known| name.starts_with(known))
}

/// Whether a file name promises a TLS library; the others are read only where none of these carries one.
pub fn is_likely(name: &str) -> bool {
    const PARTS: [&str; 7] = ["ssl", "crypto", "gnutls", "nspr", "nss3", "libpython", "libnode"];
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0a00000-55d0c0a28000 r--p 00000000 08:01 131 /usr/bin/python3.11
55d0c0a28000-55d0c0b00000 r-xp 00028000 08:01 131 /usr/bin/python3.11
7f0000000000-7f0000010000 r-xp 00000000 00:2d 77                       /opt/a b/libssl.so.3 (deleted)
7f0000010000-7f0000020000 r-xp 00010000 00:2d 77                       /opt/a b/libssl.so.3 (deleted)
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                        [vdso]
";

    #[test]
    fn executable_files_are_listed_once() {
        let found: Vec<_> =
            parse(MAPS).into_iter().map(|mapping| (mapping.path, mapping.inode)).collect();
        assert_eq!(
            found,
            [("/usr/bin/python3.11".to_owned(), 131), ("/opt/a b/libssl.so.3".to_owned(), 77)]
        );
    }

    #[test]
    fn own_executable_is_mapped_and_opens() {
        let pid = std::process::id();
        let own = executable_mappings(pid).unwrap();
        let exe = fs::read_link("/proc/self/exe").unwrap();
        let mapping = own.iter().find(|mapping| mapping.path == exe.to_str().unwrap()).unwrap();
        assert!(mapping.open(pid).unwrap().metadata().unwrap().len() > 0);
    }

    #[test]
    fn identity_is_written_as_the_memory_map_writes_it() {
        let pid = std::process::id();
        let file = File::open("/proc/self/exe").unwrap();
        let own = executable_mappings(pid).unwrap();
        let (device, inode) = identity_of(&file).unwrap();
        assert!(own.iter().any(|mapping| mapping.inode == inode && mapping.device == device));
    }

    #[test]
    fn likely_names_are_told_from_others() {
        for name in [
            "libssl.so.3",
            "libcrypto-1f2e3d.so.1.1",
            "libnode.so.108",
            "_ssl.cpython-311-x86_64-linux-gnu.so",
        ] {
            assert!(is_likely(name), "{name}");
        }
        assert!(!is_likely("libc.so.6") && is_libc("libc.so.6"));
    }
}
