//! The table of mounts comes in; the file systems that the sensor uses are mounted where they are missing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};

use crate::setup::Missing;
use crate::shell::say;

/// A file system of the kernel.
struct Wanted {
    kind: &'static str,
    why: &'static str,
    /// Places to try, the usual one first.
    places: &'static [&'static str],
}

const WANTED: [Wanted; 4] = [
    Wanted { kind: "bpf", why: "programs and maps are pinned there", places: &["/sys/fs/bpf"] },
    Wanted {
        kind: "tracefs",
        why: "tracepoints are described there",
        places: &["/sys/kernel/tracing"],
    },
    Wanted {
        kind: "securityfs",
        why: "it tells what the kernel's lockdown forbids",
        places: &["/sys/kernel/security"],
    },
    Wanted {
        kind: "cgroup2",
        why: "sockets are seen at the root of the cgroup v2 tree",
        // The second place is where hybrid machines have it; the last is for machines with cgroup v1 alone.
        places: &["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/run/tollgate/cgroup"],
    },
];

/// Mounts what is missing, or tells it; says whether anything was done.
pub fn mount_missing(missing: Missing) -> Result<bool> {
    let table = fs::read_to_string("/proc/self/mounts").context("reading the table of mounts")?;
    let mut did = false;
    for wanted in WANTED.iter().filter(|wanted| !is_mounted(&table, wanted.kind)) {
        if missing == Missing::Tell {
            bail!("{} is not mounted ({}); `cargo xtask setup` mounts it", wanted.kind, wanted.why);
        }
        mount_one(wanted, &table)?;
        did = true;
    }
    Ok(did)
}

fn mount_one(wanted: &Wanted, table: &str) -> Result<()> {
    let mut last = None;
    for place in wanted.places.iter().filter(|place| !is_taken(table, place)) {
        match mount_at(wanted.kind, Path::new(place)) {
            Ok(()) => {
                say(&format!("mounted {} at {place}: {}", wanted.kind, wanted.why));
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| anyhow::anyhow!("every usual place is taken"));
    let action = if wanted.kind == "cgroup2" {
        "boot with systemd.unified_cgroup_hierarchy=1 (cgroup v1 alone is not enough)"
    } else {
        "mount it by hand, or run outside the container"
    };
    Err(error.context(format!("mounting {} ({}); what to do: {action}", wanted.kind, wanted.why)))
}

fn mount_at(kind: &str, place: &Path) -> Result<()> {
    if !place.exists() {
        fs::create_dir_all(place).with_context(|| format!("making {}", place.display()))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(kind, place, kind, flags, None)
        .with_context(|| format!("mounting at {}", place.display()))
}

/// Rows are: device, place, kind, options.
fn column(row: &str, number: usize) -> Option<&str> {
    row.split(' ').nth(number)
}

fn is_mounted(table: &str, kind: &str) -> bool {
    table.lines().any(|row| column(row, 2) == Some(kind))
}

/// Whether something else is mounted at a place.
fn is_taken(table: &str, place: &str) -> bool {
    table.lines().any(|row| column(row, 1) == Some(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                          cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                          cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn kind_is_read_from_its_own_column() {
        assert!(is_mounted(HYBRID, "cgroup2"));
        assert!(!is_mounted(HYBRID, "bpf"));
        assert!(!is_mounted("bpf /tmp/bpf tmpfs rw 0 0\n", "bpf"));
    }

    #[test]
    fn place_of_another_hierarchy_is_not_covered() {
        assert!(is_taken(HYBRID, "/sys/fs/cgroup"));
        assert!(!is_taken(HYBRID, "/run/tollgate/cgroup"));
    }
}
