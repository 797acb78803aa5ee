//! A process id comes in; what `/proc` says about that one process, read without mixing it with another, goes out.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::workload::arguments;

/// Bytes read of a text file about a process; the longest (`cgroup` on a v1 host) has a few KiB.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// Bytes that nearly all of them have at most.
const TEXT_BYTES_USUAL: usize = 4096;
/// Tries to read a process whose executable changes while it is read.
const TRIES_MAX: u32 = 4;
/// `/proc` counts start times in ticks of 1/100 s on every architecture.
const NS_PER_TICK: u64 = 10_000_000;
/// `loginuid` and `sessionid` of a process that no login stands behind.
const LOGIN_UNSET: u32 = u32::MAX;

/// Where the facts are read from; another root lets a test, or an agent in a container, look elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The process file system of the first PID namespace.
    pub proc: PathBuf,
    /// The host's user database.
    pub users: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), users: PathBuf::from("/etc/passwd") }
    }
}

/// Start of a process as the kernel keeps it (boot clock, nanoseconds), in the ticks of `/proc/PID/stat`.
pub fn ticks_of_boot_ns(start_ns: u64) -> u64 {
    start_ns.checked_div(NS_PER_TICK).unwrap_or_default()
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Short name.
    pub(super) comm: String,
    pub(super) parent: u32,
    pub(super) start_ticks: u64,
}

/// All that is read of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) stat: Stat,
    pub(super) executable: String,
    pub(super) command_line: Vec<String>,
    /// Effective user.
    pub(super) uid: u32,
    pub(super) login: Option<u32>,
    /// Audit session of that login.
    pub(super) session: Option<u32>,
    /// Text of `/proc/PID/cgroup`.
    pub(super) cgroups: String,
}

/// Reads a process. Its start and its executable are read before and after the rest: where the start differs, the
/// id went to another process; where the executable differs, the process was executing a program, and is read again.
pub(super) fn read(proc: &Path, pid: u32) -> Option<Facts> {
    let folder = proc.join(pid.to_string());
    let first = stat(proc, pid)?;
    for _ in 0..TRIES_MAX {
        let link = fs::read_link(folder.join("exe")).ok();
        let status = text(&folder.join("status"))?;
        let facts = Facts {
            executable: executable(link.as_deref(), &first.comm),
            command_line: arguments::redact(&bytes(&folder.join("cmdline")).unwrap_or_default()),
            uid: effective_user(&status)?,
            login: of_login(&folder.join("loginuid")),
            session: of_login(&folder.join("sessionid")),
            cgroups: text(&folder.join("cgroup")).unwrap_or_default(),
            stat: stat(proc, pid)?,
        };
        if facts.stat.start_ticks != first.start_ticks {
            return None;
        }
        if fs::read_link(folder.join("exe")).ok() == link && facts.stat.comm == first.comm {
            return Some(facts);
        }
    }
    None
}

/// Path of the executable of a process, or its short name in brackets.
pub(super) fn executable_of(proc: &Path, pid: u32, comm: &str) -> String {
    executable(fs::read_link(proc.join(pid.to_string()).join("exe")).ok().as_deref(), comm)
}

fn executable(link: Option<&Path>, comm: &str) -> String {
    match link.map(Path::to_string_lossy) {
        Some(path) => path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned(),
        None => format!("[{comm}]"),
    }
}

/// Reads `/proc/PID/stat`; `None` where the process has gone.
pub(super) fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    parse_stat(&text(&proc.join(pid.to_string()).join("stat"))?)
}

/// The short name may hold blanks and parentheses: it ends at the last parenthesis of the line.
fn parse_stat(line: &str) -> Option<Stat> {
    let (head, tail) = line.rsplit_once(')')?;
    let (_, comm) = head.split_once('(')?;
    let mut fields = tail.split_ascii_whitespace();
    // Field 3 is the first behind the name; 4 is the parent, 22 the start.
    let parent = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { comm: comm.to_owned(), parent, start_ticks })
}

/// A number that is set at login and inherited from then on.
fn of_login(path: &Path) -> Option<u32> {
    text(path)?.trim().parse().ok().filter(|number| *number != LOGIN_UNSET)
}

/// Reads the effective user of a process; `None` where the process has gone.
pub(super) fn effective_user_of(proc: &Path, pid: u32) -> Option<u32> {
    effective_user(&text(&proc.join(pid.to_string()).join("status"))?)
}

/// Second number of the `Uid:` line: real, effective, saved, file system.
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    // The kernel makes such a text anew for each read: most fit into one.
    let mut bytes = Vec::with_capacity(TEXT_BYTES_USUAL);
    File::open(path).ok()?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Reads a text file about a process.
pub(super) fn text(path: &Path) -> Option<String> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    #[test]
    fn short_name_may_hold_blanks_and_parentheses() {
        let rest = "S 41 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 20";
        for name in ["cat", "a b", ") S 1 2 (", "((sd-pam))", ""] {
            let stat = parse_stat(&format!("42 ({name}) {rest}")).unwrap();
            assert_eq!(stat, Stat { comm: name.to_owned(), parent: 41, start_ticks: 98765 });
        }
        assert_eq!(parse_stat("42 (cat) S 41 7"), None);
        assert_eq!(parse_stat("42 cat"), None);
    }

    #[test]
    fn effective_user_is_the_second_number() {
        assert_eq!(effective_user("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(0));
        assert_eq!(effective_user("Name:\tUid:\n"), None);
    }

    #[test]
    fn deleted_executable_keeps_its_path() {
        assert_eq!(executable(Some(Path::new("/opt/a b (deleted)")), "a"), "/opt/a b");
        assert_eq!(executable(None, "kthreadd"), "[kthreadd]");
    }

    #[test]
    fn own_process_is_read_as_it_is() {
        let facts = read(Path::new("/proc"), process::id()).unwrap();
        let own = std::env::current_exe().unwrap();
        assert_eq!(facts.executable, own.to_string_lossy());
        assert_eq!(facts.stat.parent, std::os::unix::process::parent_id());
        assert_eq!(facts.uid, rustix::process::geteuid().as_raw());
        assert!(facts.cgroups.lines().count() > 0);
        assert!(facts.stat.start_ticks > 0);
    }

    #[test]
    fn login_is_none_where_the_kernel_says_unset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessionid");
        for (text, expected) in [("4294967295", None), ("7\n", Some(7)), ("", None), ("x", None)] {
            fs::write(&path, text).unwrap();
            assert_eq!(of_login(&path), expected, "{text}");
        }
    }

    #[test]
    fn process_that_does_not_exist_is_none() {
        assert_eq!(read(Path::new("/proc"), u32::MAX), None);
        assert_eq!(read(Path::new("/nonexistent"), 1), None);
    }

    #[test]
    fn start_in_boot_nanoseconds_is_cut_to_ticks() {
        assert_eq!(ticks_of_boot_ns(987_659_999_999), 98_765);
    }
}
