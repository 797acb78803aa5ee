//! Commands and conditions come in; bounded waits, process groups that end with their owner, and temporary folders go out.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

/// Pause between two looks at a condition: short against any deadline, long against a look's cost.
const POLL: Duration = Duration::from_millis(5);

/// Lines of a child's output kept in flight before the child has to wait for its reader.
const LINES_MAX: usize = 100_000;

/// Returns the kernel's monotonic clock in nanoseconds, the clock that kernel records carry.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Shows a measured figure beside the test's result, captured or not.
pub fn note(text: &str) {
    // A closed output loses the note, not the test.
    let _closed = writeln!(std::io::stderr().lock(), "note: {text}");
}

/// Reports whether this process may create network namespaces.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Looks until `look` returns a value, at most for `deadline`; the error names `what` was awaited.
pub fn wait_until<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(POLL);
    }
}

/// Makes a temporary folder, removed when dropped; its name carries the process id.
pub fn temp_folder(purpose: &str) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("tollgate-{purpose}-{}-", std::process::id()))
        .tempdir()
        .context("making a temporary folder")
}

/// The number in a variable of the environment.
pub fn number_from(variable: &str) -> Option<u32> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

/// Runs a command to its end and returns its output; a failure carries what it wrote.
pub fn run(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}");
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {shown}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout);
        bail!("{shown} ended with {}: {}{}", output.status, text.trim(), errors.trim());
    }
    Ok(output)
}

/// Copies a program that is to be run, with its mode, by a process of its own.
///
/// A descriptor of this process that is open for writing is inherited by a child that another test starts at that moment; until that child runs its own program, the copy is busy (`ETXTBSY`) and cannot be started.
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["--preserve=mode", "--"]).arg(from).arg(to)).map(drop)
}

/// Runs a program with arguments to its end and returns what it wrote.
pub fn run_args<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<String> {
    let output = run(Command::new(program).args(args))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A child in a process group of its own, which is killed when this value is dropped.
///
/// Standard output is read line by line by a thread; standard error goes to a file, so that neither can block the child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: PathBuf,
    shown: String,
    owned: bool,
}

impl Process {
    /// Starts a command as the head of a new process group; `errors` is the file its standard error goes to.
    pub fn start(command: &mut Command, errors: &Path) -> Result<Self> {
        let shown = command.get_program().display().to_string();
        let sink = fs::File::create(errors).context("making the file for standard error")?;
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(sink)
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no pipe from the child")?;
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            // Ends with the child's output, or when nobody listens any more.
            let mut read = BufReader::new(stdout).lines().map_while(Result::ok);
            read.all(|line| sender.send(line).is_ok())
        });
        Ok(Self { child, stdin, lines, errors: errors.to_owned(), shown, owned: true })
    }

    /// Returns the process id, which is also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line of standard output, or `None` at its end; fails after `deadline`.
    pub fn line(&self, deadline: Duration) -> Result<Option<String>> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} wrote no line within {deadline:?}: {}", self.shown, self.errors())
            }
        }
    }

    /// Writes one line to the child's standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}").context("writing to the child")?;
        stdin.flush().context("writing to the child")
    }

    /// Closes the child's standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end, at most for `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.close_stdin();
        let what = format!("the end of {}", self.shown);
        wait_until(deadline, &what, || self.child.try_wait().transpose())?
            .context("waiting for the child")
    }

    /// Returns what the child has written to standard error so far.
    pub fn errors(&self) -> String {
        fs::read(&self.errors)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Lets the process run on when this value is dropped.
    pub fn leave(&mut self) {
        self.owned = false;
    }

    /// Kills the process group that this value started and reaps its head.
    pub fn kill(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            kill_group(self.child.id());
            drop(self.child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.owned {
            self.kill();
        }
    }
}

/// Kills the process group `id`; returns whether there was one.
pub fn kill_group(id: u32) -> bool {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process_group(pid, Signal::KILL).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline_and_names_what_was_awaited() {
        let error = wait_until(Duration::from_millis(20), "a miracle", || None::<()>).unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }

    #[test]
    fn a_dropped_process_takes_its_whole_group_along() {
        let folder = temp_folder("harness").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo $!; wait"]);
        let process = Process::start(&mut shell, &folder.path().join("errors")).unwrap();
        let grandchild = process.line(Duration::from_secs(10)).unwrap().unwrap();
        let entry = PathBuf::from(format!("/proc/{grandchild}/cmdline"));
        assert!(entry.exists());
        drop(process);
        // A killed orphan may stay as a zombie until init reaps it: its command line is empty then.
        wait_until(Duration::from_secs(10), "the grandchild's end", || {
            fs::read(&entry).unwrap_or_default().is_empty().then_some(())
        })
        .unwrap();
    }

    #[test]
    fn the_clock_never_steps_back() {
        let before = monotonic_ns();
        assert!(before > 0);
        assert!(monotonic_ns() >= before);
    }
}
