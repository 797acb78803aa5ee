//! Mount tables come in; the root of the cgroup v2 hierarchy goes out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Error;

/// Finds where cgroup v2 is mounted (`/sys/fs/cgroup`, or `…/unified` on hybrid machines).
pub fn root_path() -> Option<PathBuf> {
    mount_of_type(&fs::read_to_string("/proc/self/mounts").ok()?, "cgroup2")
}

/// Opens the root of the hierarchy.
pub fn root() -> Result<File, Error> {
    let path = root_path().ok_or(Error::NoCgroup2)?;
    File::open(&path).map_err(|source| Error::Read { path, source })
}

/// The cgroup of a process, as this process sees the hierarchy; none where it has ended.
pub fn path_of(pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    Some(root_path()?.join(text.lines().find_map(|line| line.strip_prefix("0::/"))?))
}

/// First mount point of a file system type in a mount table.
pub(super) fn mount_of_type(table: &str, kind: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let point = fields.nth(1)?;
        (fields.next()? == kind).then(|| Path::new(point).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mount_is_found() {
        let table = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_of_type(table, "cgroup2"), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_of_type(table, "bpf"), None);
    }
}
