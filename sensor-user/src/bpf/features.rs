//! The machine's kernel files come in; what the agent can and cannot do here goes out, with what to do about it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{btf, cgroup};

/// Oldest kernel that the programs are made for.
pub const KERNEL_MIN: (u32, u32) = (5, 10);

/// Capabilities that are needed, with their bit (linux/capability.h) and what for.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "to load programs and maps"),
    (38, "CAP_PERFMON", "to attach probes"),
    (12, "CAP_NET_ADMIN", "to attach to the cgroup root"),
    (19, "CAP_SYS_PTRACE", "to open the files that processes map"),
    (21, "CAP_SYS_ADMIN", "to open /proc/PID/map_files"),
];

/// How much one fact matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Something is less than it could be.
    Limited,
    /// The agent cannot work.
    Fatal,
}

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// How much it matters.
    pub level: Level,
    /// Why it matters.
    pub why: &'static str,
    /// What to do; empty where nothing is to be done.
    pub action: &'static str,
}

fn fact(
    what: &'static str,
    found: impl Into<String>,
    level: Level,
    why: &'static str,
    action: &'static str,
) -> Fact {
    Fact { what, found: found.into(), level, why, action }
}

/// Looks at the running machine.
pub fn survey() -> Vec<Fact> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").ok();
    let mut facts = vec![
        kernel(release.trim()),
        types(Path::new(btf::VMLINUX).exists()),
        hierarchy(cgroup::root_path()),
        locked(lockdown.as_deref()),
    ];
    facts.extend(capabilities(&status));
    facts
}

fn kernel(release: &str) -> Fact {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let level = if version < KERNEL_MIN { Level::Fatal } else { Level::Fine };
    let why = "ring buffers and the program types in use exist from Linux 5.10 on";
    fact(
        "kernel",
        release,
        level,
        why,
        if level == Level::Fatal { "boot Linux 5.10 or newer" } else { "" },
    )
}

fn types(present: bool) -> Fact {
    let why = "offsets of kernel structures are read from the running kernel's BTF";
    if present {
        fact("btf", btf::VMLINUX, Level::Fine, why, "")
    } else {
        fact(
            "btf",
            "missing",
            Level::Fatal,
            why,
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian's and Ubuntu's are)",
        )
    }
}

fn hierarchy(root: Option<PathBuf>) -> Fact {
    let why = "sockets are seen at the root of the cgroup v2 hierarchy";
    match root {
        Some(path) => fact("cgroup2", path.display().to_string(), Level::Fine, why, ""),
        None => fact(
            "cgroup2",
            "not mounted",
            Level::Fatal,
            why,
            "run `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ),
    }
}

fn locked(lockdown: Option<&str>) -> Fact {
    let why = "lockdown=confidentiality forbids reading kernel memory, and so the start time of processes";
    let mode =
        lockdown.and_then(|text| text.split('[').nth(1)).and_then(|rest| rest.split(']').next());
    match mode {
        Some("confidentiality") => fact(
            "lockdown",
            "confidentiality",
            Level::Fatal,
            why,
            "boot with lockdown=integrity, or without Secure Boot's confidentiality mode",
        ),
        other => fact("lockdown", other.unwrap_or("none"), Level::Fine, why, ""),
    }
}

fn capabilities(status: &str) -> Vec<Fact> {
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .into_iter()
        .map(|(bit, name, why)| {
            if held.checked_shr(bit).unwrap_or(0) & 1 == 1 {
                fact(name, "held", Level::Fine, why, "")
            } else {
                fact(
                    name,
                    "missing",
                    Level::Fatal,
                    why,
                    "run as root, or grant the capability to the service",
                )
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernel_is_fatal_and_says_what_to_do() {
        const CASES: [(&str, Level); 5] = [
            ("5.9.16-1-amd64", Level::Fatal),
            ("5.10.0-46-amd64", Level::Fine),
            ("6.18.15+deb13-amd64", Level::Fine),
            ("4.19.0", Level::Fatal),
            ("", Level::Fatal),
        ];
        for (release, level) in CASES {
            let found = kernel(release);
            assert_eq!(found.level, level, "{release}");
            assert_eq!(found.action.is_empty(), level == Level::Fine);
        }
    }

    #[test]
    fn lockdown_mode_in_brackets_is_the_one_in_force() {
        assert_eq!(locked(Some("none [integrity] confidentiality")).level, Level::Fine);
        assert_eq!(locked(Some("none integrity [confidentiality]")).level, Level::Fatal);
        assert_eq!(locked(None).found, "none");
    }

    #[test]
    fn missing_capability_is_named() {
        let none = capabilities("CapEff:\t0000000000000000\n");
        assert!(none.iter().all(|fact| fact.level == Level::Fatal));
        let all = capabilities("CapEff:\t000001ffffffffff\n");
        assert!(all.iter().all(|fact| fact.level == Level::Fine));
    }
}
