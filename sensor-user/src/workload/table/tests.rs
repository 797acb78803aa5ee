//! A made process folder, and real children of the test, come in; what the table remembers of them is compared.

use super::*;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process;
use std::process::Command;
use std::process::Stdio;

const SEC: u64 = NS_PER_SEC;

/// What is known of containers where no runtime is asked.
fn nobody() -> Arc<Index> {
    Arc::new(Index::new(1, Vec::new()))
}

/// A folder that looks like `/proc`.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn table(&self, config: Config) -> Table {
        let users = self.0.path().join("passwd");
        fs::write(&users, "root:x:0:0\nwww-data:x:33:33\nana:x:1000:1000\n").unwrap();
        let roots = Roots { proc: self.0.path().to_owned(), users };
        Table::new(roots, config, nobody())
    }

    fn add(&self, pid: u32, parent: u32, start: u64, executable: &str) {
        let folder = self.0.path().join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let line = format!("{pid} (x) S {parent} {}{start} 0 0", "0 ".repeat(17));
        fs::write(folder.join("stat"), line).unwrap();
        fs::write(folder.join("status"), "Uid:\t1000\t1000\t1000\t1000\n").unwrap();
        fs::write(folder.join("loginuid"), "4294967295").unwrap();
        fs::write(folder.join("cmdline"), format!("{executable}\0--api-key\0hunter2\0")).unwrap();
        fs::write(folder.join("cgroup"), "0::/system.slice/app.service\n").unwrap();
        let _absent = fs::remove_file(folder.join("exe"));
        symlink(executable, folder.join("exe")).unwrap();
    }

    fn set_user(&self, pid: u32, uid: u32) {
        let status = self.0.path().join(pid.to_string()).join("status");
        fs::write(status, format!("Uid:\t0\t{uid}\t{uid}\t{uid}\n")).unwrap();
    }

    fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }
}

#[test]
fn process_is_read_with_parents_user_and_unit() {
    let proc = Proc::new();
    proc.add(1, 0, 1, "/sbin/init");
    proc.add(20, 1, 50, "/bin/bash");
    proc.add(30, 20, 90, "/usr/bin/python3 (deleted)");
    let workload = proc.table(Config::default()).resolve(30, SEC).unwrap();
    assert_eq!((workload.pid, workload.start_ticks), (30, 90));
    assert_eq!(workload.executable, "/usr/bin/python3");
    assert_eq!(workload.command_line.last().unwrap(), "[redacted]");
    assert_eq!(workload.ancestors.iter().map(|one| one.pid).collect::<Vec<_>>(), [20, 1]);
    assert_eq!(workload.user.as_deref(), Some("ana"));
    assert_eq!(workload.login_user, None);
    assert_eq!(workload.systemd_unit.as_deref(), Some("app.service"));
}

#[test]
fn parent_that_started_later_than_its_child_is_no_parent() {
    let proc = Proc::new();
    proc.add(20, 0, 500, "/bin/other");
    proc.add(30, 20, 90, "/bin/a");
    assert_eq!(proc.table(Config::default()).resolve(30, SEC).unwrap().ancestors, []);
}

#[test]
fn ended_process_is_found_until_its_time_is_over() {
    let proc = Proc::new();
    proc.add(30, 0, 90, "/bin/a");
    let mut table = proc.table(Config { ended_keep_secs: 10, ..Config::default() });
    table.resolve(30, SEC).unwrap();
    proc.remove(30);
    table.observe_exit(30, 2 * SEC);
    table.expire(11 * SEC);
    assert_eq!(table.lookup(30, Some(90)).unwrap().executable, "/bin/a");
    assert_eq!(table.lookup(30, Some(91)), None);
    table.expire(12 * SEC);
    assert_eq!(table.lookup(30, Some(90)), None);
}

#[test]
fn used_id_is_not_guessed() {
    let proc = Proc::new();
    proc.add(30, 0, 90, "/bin/a");
    let mut table = proc.table(Config::default());
    table.resolve(30, SEC).unwrap();
    table.observe_exit(30, 2 * SEC);
    proc.add(30, 0, 700, "/bin/b");
    assert_eq!(table.resolve(30, 3 * SEC).unwrap().executable, "/bin/b");
    assert_eq!(table.lookup(30, Some(90)).unwrap().executable, "/bin/a");
    assert_eq!(table.lookup(30, Some(700)).unwrap().executable, "/bin/b");
    assert_eq!(table.lookup(30, None), None);
    assert_eq!(table.attribute(30, Some(800), 4 * SEC), None);
    assert_eq!(table.metrics().unattributed, 1);
}

#[test]
fn program_before_exec_is_known_for_the_time_before() {
    let proc = Proc::new();
    proc.add(20, 0, 10, "/bin/bash");
    proc.add(30, 20, 90, "/bin/bash");
    let mut table = proc.table(Config::default());
    table.observe_fork(20, 30, SEC);
    proc.add(30, 1, 90, "/usr/bin/curl");
    table.observe_exec(30, 5 * SEC);
    assert_eq!(table.lookup_at(30, Some(90), 4 * SEC).unwrap().executable, "/bin/bash");
    let after = table.lookup_at(30, Some(90), 6 * SEC).unwrap();
    assert_eq!(after.executable, "/usr/bin/curl");
    // The parent of the fork is kept, though the process was handed to another one.
    assert_eq!(after.ancestors[0].pid, 20);
}

#[test]
fn program_that_ended_before_it_was_read_is_not_taken_for_the_one_before() {
    let proc = Proc::new();
    proc.add(30, 0, 90, "/bin/bash");
    let mut table = proc.table(Config::default());
    table.resolve(30, SEC).unwrap();
    proc.remove(30);
    table.observe_exec(30, 2 * SEC);
    assert_eq!(table.lookup(30, Some(90)), None);
    assert_eq!(table.lookup_at(30, Some(90), SEC).unwrap().executable, "/bin/bash");
}

#[test]
fn program_that_drops_root_is_its_new_user_from_then_on() {
    let proc = Proc::new();
    proc.add(20, 0, 10, "/bin/bash");
    proc.add(30, 20, 90, "/usr/sbin/httpd");
    proc.set_user(30, 0);
    let mut table = proc.table(Config::default());
    table.observe_exec(30, SEC);
    assert_eq!(table.attribute(30, Some(90), 2 * SEC).unwrap().user.as_deref(), Some("root"));
    assert!(table.take_changed().is_empty());
    proc.set_user(30, 33);
    // A call of before that is told of later, and one that is made now.
    assert_eq!(table.attribute(30, Some(90), 2 * SEC).unwrap().uid, "0");
    let after = table.attribute(30, Some(90), 3 * SEC).unwrap();
    assert_eq!((after.uid.as_str(), after.user.as_deref()), ("33", Some("www-data")));
    assert_eq!((after.executable.as_str(), after.ancestors[0].pid), ("/usr/sbin/httpd", 20));
    assert_eq!(table.lookup_at(30, Some(90), 2 * SEC).unwrap().uid, "0");
    assert_eq!(table.take_changed().into_iter().collect::<Vec<_>>(), [30]);
    assert!(table.take_changed().is_empty());
    proc.set_user(30, 1000);
    assert_eq!(table.refresh(30, 4 * SEC).unwrap().user.as_deref(), Some("ana"));
    proc.set_user(30, 33);
    table.follow_user(30, 5 * SEC);
    assert_eq!(table.lookup(30, Some(90)).unwrap().uid, "33");
    assert_eq!(table.take_changed().len(), 1);
    // Who has ended stays who it was.
    proc.set_user(30, 0);
    table.observe_exit(30, 6 * SEC);
    assert_eq!(table.attribute(30, Some(90), 7 * SEC).unwrap().uid, "33");
}

#[test]
fn user_of_another_process_under_the_same_id_is_not_taken() {
    let proc = Proc::new();
    proc.add(30, 0, 90, "/bin/a");
    let mut table = proc.table(Config::default());
    table.resolve(30, SEC).unwrap();
    proc.add(30, 0, 700, "/bin/b");
    proc.set_user(30, 33);
    assert_eq!(table.attribute(30, Some(90), 2 * SEC).unwrap().uid, "1000");
    assert!(table.take_changed().is_empty());
}

#[test]
fn full_table_forgets_ended_processes_first() {
    let proc = Proc::new();
    let mut table = proc.table(Config { processes_max: 4, ended_keep_secs: 1000 });
    for pid in 1..=4 {
        proc.add(pid, 0, 90, "/bin/a");
        table.resolve(pid, u64::from(pid)).unwrap();
    }
    table.observe_exit(3, 10);
    proc.add(5, 0, 90, "/bin/a");
    table.resolve(5, 20).unwrap();
    assert_eq!(table.len(), 4);
    assert_eq!(table.lookup(3, None), None);
    proc.add(6, 0, 90, "/bin/a");
    table.resolve(6, 30).unwrap();
    assert_eq!((table.lookup(1, None), table.len()), (None, 4));
    assert_eq!(table.metrics().evicted, 2);
}

#[test]
fn real_child_is_known_before_and_after_its_exec_and_after_its_end() {
    let mut table = Table::new(Roots::default(), Config::default(), nobody());
    let mut child = Command::new("sh")
        .args(["-c", "echo; read line; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut byte = [0];
    output.read_exact(&mut byte).unwrap();
    let shell = table.resolve(child.id(), SEC).unwrap();
    assert_eq!(shell.ancestors[0].pid, process::id());
    assert_eq!(shell.command_line, ["sh", "-c", "[redacted]"]);
    // The echo of `cat` shows that the exec is done.
    input.write_all(b"\nx").unwrap();
    output.read_exact(&mut byte).unwrap();
    table.observe_exec(child.id(), 2 * SEC);
    let cat = table.lookup(child.id(), Some(shell.start_ticks)).unwrap();
    assert_eq!(cat.command_line, ["cat"]);
    assert_ne!(cat.executable, shell.executable);
    drop(input);
    child.wait().unwrap();
    table.observe_exit(child.id(), 3 * SEC);
    assert_eq!(table.attribute(child.id(), Some(cat.start_ticks), 4 * SEC).unwrap(), cat);
    assert_eq!(table.attribute(child.id(), Some(0), 4 * SEC), None);
}

#[test]
fn unread_child_that_has_ended_but_was_not_waited_for_is_named_by_its_short_name() {
    let mut table = Table::new(Roots::default(), Config::default(), nobody());
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take());
    let mut output = child.stdout.take().unwrap();
    output.read_to_end(&mut Vec::new()).unwrap();
    let is_zombie =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
    let bound = std::time::Instant::now();
    while !is_zombie(child.id()) {
        assert!(bound.elapsed().as_secs() < 10, "the child does not end");
        std::thread::yield_now();
    }
    table.observe_exit(child.id(), SEC);
    assert_eq!(table.lookup(child.id(), None).unwrap().executable, "[cat]");
    child.wait().unwrap();
}
