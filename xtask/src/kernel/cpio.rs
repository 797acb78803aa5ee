//! Files come in; an archive in the `newc` form of cpio, which the kernel unpacks into its first file system, goes out.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

/// File types and permissions (stat.h).
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// The name that ends an archive.
const END: &str = "TRAILER!!!";

/// Headers, names and contents begin at multiples of four bytes.
const ALIGNMENT: usize = 4;

/// An archive that grows.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a file that may be run, with the folders above it.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, PROGRAM, content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, LINK, to.as_bytes())
    }

    /// Adds a folder, with the folders above it.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        self.parents(path)?;
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, &[])?;
        }
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(END, 0, &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => self.folder(above),
            _ => Ok(()),
        }
    }

    /// Magic, then thirteen fields of eight hex digits: number, mode, owner, group, links, time, size, two device
    /// pairs, length of the name, checksum (unused).
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        self.entries = self.entries.saturating_add(1);
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large"))?;
        let name_size = u32::try_from(name.len())?.saturating_add(1);
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::shell::find;

    #[test]
    fn parts_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.file("/a", b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        // 6 + 13 * 8 bytes of header, "a\0", then the content padded to 8.
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..126], b"a\x0012345\x00\x00\x00070701");
        assert_eq!(bytes.len() % ALIGNMENT, 0);
    }

    #[test]
    fn folders_stand_once_before_their_files() {
        let mut archive = Archive::default();
        archive.file("/a/b/one", b"").unwrap();
        archive.file("/a/b/two", b"").unwrap();
        archive.link("/a/three", "b/two").unwrap();
        let bytes = archive.finish().unwrap();
        let Some(busybox) = find("busybox") else { return };
        let mut child = Command::new(busybox)
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes).unwrap();
        let listed = child.wait_with_output().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        let names: Vec<_> = listed.lines().collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "a/three"]);
    }
}
