//! The machine's kernel files come in; what keeps the sensor from running here, why, and what to do about it go out.

use std::fmt;
use std::fs;
use std::path::Path;

/// Oldest kernel that the programs are made for.
const KERNEL_MIN: (u32, u32) = (5, 10);

/// Type information of the running kernel.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where a Secure Boot kernel says what it forbids.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Capabilities with their bit (linux/capability.h) and what each is for.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "loads programs and maps"),
    (38, "CAP_PERFMON", "attaches probes"),
    (12, "CAP_NET_ADMIN", "attaches to the root of the cgroup tree"),
    (21, "CAP_SYS_ADMIN", "mounts bpffs and opens /proc/PID/map_files"),
    (19, "CAP_SYS_PTRACE", "opens the files that other processes map"),
];

/// Something that keeps the sensor from running.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    what: String,
    why: &'static str,
    action: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n  why: {}\n  do:  {}", self.what, self.why, self.action)
    }
}

/// What the kernel's files say.
struct Facts {
    release: String,
    status: String,
    lockdown: String,
    has_btf: bool,
}

/// Looks at the running machine.
pub fn survey() -> Vec<Problem> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    problems(&Facts {
        release: read("/proc/sys/kernel/osrelease"),
        status: read("/proc/self/status"),
        lockdown: read(LOCKDOWN),
        has_btf: Path::new(BTF).exists(),
    })
}

fn problems(facts: &Facts) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut add = |what: String, why, action| found.push(Problem { what, why, action });
    if version(&facts.release) < KERNEL_MIN {
        add(
            format!("kernel {} is too old", facts.release.trim()),
            "ring buffers and the program types in use exist from Linux 5.10 on",
            "boot Linux 5.10 or newer",
        );
    }
    if !facts.has_btf {
        add(
            format!("no type information: {BTF} is missing"),
            "offsets of kernel structures are read from the running kernel's BTF",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's and Ubuntu's are",
        );
    }
    if facts.lockdown.contains("[confidentiality]") {
        add(
            "the kernel runs with lockdown=confidentiality".to_owned(),
            "that mode forbids programs to read kernel memory",
            "boot with lockdown=integrity on the kernel command line",
        );
    }
    if !is_root(&facts.status) {
        add(
            "not root".to_owned(),
            "packages are installed, and programs are loaded into the kernel",
            "run it again as root: sudo -E env \"PATH=$PATH\" cargo xtask …",
        );
    } else if let Some(text) = missing_capabilities(&facts.status) {
        add(
            format!("root without {text}"),
            "a container or a service manager has taken these capabilities away",
            "run on the host, or give the container --privileged, --pid=host and --cgroupns=host",
        );
    }
    found
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// The second number of `Uid:` is the effective one.
fn is_root(status: &str) -> bool {
    field(status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn missing_capabilities(status: &str) -> Option<String> {
    let held = field(status, "CapEff:")?.trim();
    let held = u64::from_str_radix(held, 16).ok()?;
    let missing = CAPABILITIES
        .iter()
        .filter(|(bit, ..)| held.checked_shr(*bit).is_none_or(|rest| rest & 1 == 0))
        .map(|(_, name, what)| format!("{name} (which {what})"));
    let missing: Vec<_> = missing.collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Facts {
        Facts {
            release: "6.1.0-56-amd64\n".to_owned(),
            status: "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n".to_owned(),
            lockdown: "none [integrity] confidentiality\n".to_owned(),
            has_btf: true,
        }
    }

    fn told(facts: &Facts) -> String {
        problems(facts).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn machine_with_everything_has_no_problem() {
        assert_eq!(problems(&fine()), []);
    }

    #[test]
    fn old_kernel_is_told_and_the_oldest_supported_is_not() {
        let facts = |release: &str| Facts { release: release.to_owned(), ..fine() };
        assert!(told(&facts("5.4.0-200-generic")).contains("5.10 or newer"));
        assert_eq!(told(&facts("5.10.0-46-cloud-amd64")), "");
        assert_eq!(told(&facts("7.2+deb14")), "");
    }

    #[test]
    fn missing_types_and_confidentiality_are_told() {
        assert!(told(&Facts { has_btf: false, ..fine() }).contains("CONFIG_DEBUG_INFO_BTF"));
        let lockdown = "none integrity [confidentiality]".to_owned();
        assert!(told(&Facts { lockdown, ..fine() }).contains("lockdown=integrity"));
    }

    #[test]
    fn user_is_told_to_become_root_and_nothing_of_capabilities() {
        let status = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n".to_owned();
        let told = told(&Facts { status, ..fine() });
        assert!(told.contains("sudo") && !told.contains("CAP_BPF"), "{told}");
    }

    #[test]
    fn root_of_a_container_is_told_which_capabilities_lack() {
        let status = "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n".to_owned();
        let told = told(&Facts { status, ..fine() });
        assert!(told.contains("CAP_BPF") && told.contains("CAP_SYS_ADMIN"), "{told}");
    }
}
