//! The machine's kernel files come in; what the agent can and cannot do here goes out, with what to do about it.

use std::fs;
use std::path::Path;

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

/// What the files of a machine's kernel say.
struct Machine {
    release: String,
    status: String,
    mounts: String,
    lockdown: Option<String>,
    has_types: bool,
}

impl Machine {
    /// Reads the files below `root`, which is `/` but in tests.
    fn read(root: &Path) -> Self {
        let file = |path: &str| root.join(path.trim_start_matches('/'));
        let text = |path: &str| fs::read_to_string(file(path));
        Self {
            release: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            status: text("/proc/self/status").unwrap_or_default(),
            mounts: text("/proc/self/mounts").unwrap_or_default(),
            lockdown: text("/sys/kernel/security/lockdown").ok(),
            has_types: file(btf::VMLINUX).exists(),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            kernel(self.release.trim()),
            types(self.has_types),
            hierarchy(&self.mounts),
            locked(self.lockdown.as_deref()),
        ];
        facts.extend(capabilities(&self.status));
        facts
    }
}

/// Looks at the running machine.
pub fn survey() -> Vec<Fact> {
    Machine::read(Path::new("/")).facts()
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

fn hierarchy(mounts: &str) -> Fact {
    let why = "sockets are seen at the root of the cgroup v2 hierarchy";
    if let Some(path) = cgroup::mount_of_type(mounts, "cgroup2") {
        return fact("cgroup2", path.display().to_string(), Level::Fine, why, "");
    }
    let old = cgroup::mount_of_type(mounts, "cgroup").is_some();
    fact(
        "cgroup2",
        if old { "cgroup v1 only" } else { "not mounted" },
        Level::Fatal,
        why,
        "run `mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2`, \
         or boot with systemd.unified_cgroup_hierarchy=1",
    )
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

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn capabilities(status: &str) -> Vec<Fact> {
    let held = field(status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let held = held.unwrap_or(0);
    // The second number is the effective user.
    let user = field(status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1));
    if held == 0 && user != Some("0") {
        return vec![fact(
            "user",
            "not root",
            Level::Fatal,
            "programs are loaded into the kernel, and files of other users' processes are opened",
            "run it again as root, as with sudo, or as a service that is granted \
             CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE and CAP_SYS_ADMIN",
        )];
    }
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
                    "run as root outside a container, or grant the capability to the service or container",
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

    const ROOT: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";

    #[test]
    fn missing_capability_is_named() {
        let without = |bit: u32| (1_u64 << 41).wrapping_sub(1) & !(1 << bit);
        for (bit, name, _) in CAPABILITIES {
            let facts =
                capabilities(&format!("Uid:\t0\t0\t0\t0\nCapEff:\t{:016x}\n", without(bit)));
            let fatal: Vec<_> = facts.iter().filter(|fact| fact.level == Level::Fatal).collect();
            assert_eq!(fatal.iter().map(|fact| fact.what).collect::<Vec<_>>(), [name]);
            assert!(fatal[0].action.contains("grant the capability"));
        }
        assert!(capabilities(ROOT).iter().all(|fact| fact.level == Level::Fine));
    }

    #[test]
    fn user_without_capabilities_is_told_to_become_root_and_one_with_them_is_not() {
        let facts = capabilities("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n");
        assert_eq!(facts.iter().map(|fact| fact.found.as_str()).collect::<Vec<_>>(), ["not root"]);
        let service = ROOT.replace("\t0\t0", "\t998\t998");
        assert!(capabilities(&service).iter().all(|fact| fact.level == Level::Fine));
    }

    /// Files of a machine that has everything.
    const FINE: [(&str, &str); 5] = [
        ("proc/sys/kernel/osrelease", "6.1.0-56-amd64\n"),
        ("proc/self/status", ROOT),
        ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
        ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
        ("sys/kernel/btf/vmlinux", "types"),
    ];

    /// What is fatal on a machine with these files, one of them with another text or missing.
    fn fatal(path: &str, text: Option<&str>) -> Vec<Fact> {
        let root = tempfile::tempdir().unwrap();
        for (name, usual) in FINE {
            let text = if name == path { text } else { Some(usual) };
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            if let Some(text) = text {
                fs::write(file, text).unwrap();
            }
        }
        let facts = Machine::read(root.path()).facts();
        facts.into_iter().filter(|fact| fact.level == Level::Fatal).collect()
    }

    #[test]
    fn each_lack_of_a_machine_is_told_alone_with_reason_and_remedy() {
        const V1: &str =
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n";
        const CASES: [(&str, Option<&str>, &str, &str, &str); 6] = [
            (
                "proc/sys/kernel/osrelease",
                Some("5.4.0-200-generic\n"),
                "kernel",
                "5.4.0-200-generic",
                "5.10",
            ),
            ("sys/kernel/btf/vmlinux", None, "btf", "missing", "CONFIG_DEBUG_INFO_BTF"),
            ("proc/self/mounts", Some(V1), "cgroup2", "cgroup v1 only", "unified_cgroup_hierarchy"),
            ("proc/self/mounts", Some(""), "cgroup2", "not mounted", "mount -t cgroup2"),
            (
                "sys/kernel/security/lockdown",
                Some("none integrity [confidentiality]\n"),
                "lockdown",
                "confidentiality",
                "lockdown=integrity",
            ),
            ("proc/self/status", None, "user", "not root", "sudo"),
        ];
        assert_eq!(fatal("", None), []);
        for (path, text, what, found, action) in CASES {
            let facts = fatal(path, text);
            let told: Vec<_> = facts.iter().map(|fact| (fact.what, fact.found.as_str())).collect();
            assert_eq!(told, [(what, found)], "{path}");
            assert!(facts[0].action.contains(action) && !facts[0].why.is_empty(), "{path}");
        }
        // A kernel without lockdown has no such file.
        assert_eq!(fatal("sys/kernel/security/lockdown", None), []);
    }
}
