//! Commands come in; they run in a network namespace and a folder of their own, and end with this program.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::shell::{output, run};

/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Time in which a program ends that was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A network namespace with a loopback, and a folder for files.
pub struct Net {
    name: String,
    folder: PathBuf,
}

impl Net {
    /// Makes both.
    pub fn up() -> Result<Self> {
        let name = format!("tollgate-bench-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let net = Self { name, folder };
        run(Command::new("ip").args(["netns", "add", &net.name]))?;
        run(Command::new("ip").args(["-n", &net.name, "link", "set", "lo", "up"]))?;
        Ok(net)
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Name of the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command within the namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        // `ip` becomes the program: its process id is the program's.
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // What cannot be removed was never made, or is named by the error that came before.
        let _removed = output(Command::new("ip").args(["netns", "del", &self.name]));
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// A program in the background; it is ended by its id.
pub struct Background {
    child: Child,
    name: &'static str,
    errors: PathBuf,
}

impl Background {
    /// Starts a program whose output goes to `out` and whose errors go to a file beside it.
    pub fn start(name: &'static str, command: &mut Command, out: &Path) -> Result<Self> {
        Self::spawn(name, command.stdin(Stdio::null()), out)
    }

    /// Starts a program that also waits for words on its standard input.
    pub fn start_listening(name: &'static str, command: &mut Command, out: &Path) -> Result<Self> {
        Self::spawn(name, command.stdin(Stdio::piped()), out)
    }

    fn spawn(name: &'static str, command: &mut Command, out: &Path) -> Result<Self> {
        let errors = out.with_extension("errors");
        let file =
            |path: &Path| File::create(path).with_context(|| format!("making {}", path.display()));
        command.stdout(file(out)?).stderr(file(&errors)?);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name, errors })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something is so, as long as the program runs.
    pub fn wait_until(
        &mut self,
        what: &str,
        deadline: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while !is_so() {
            if let Some(status) = self.child.try_wait().context("looking at a program")? {
                bail!("{} ended ({status}) before {what}: {}", self.name, self.told());
            }
            if start.elapsed() > deadline {
                bail!("{}: no {what} within {} s: {}", self.name, deadline.as_secs(), self.told());
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// Says something to a program that listens.
    pub fn tell(&mut self, words: &str) -> Result<()> {
        let input =
            self.child.stdin.as_mut().with_context(|| format!("{} does not listen", self.name))?;
        input.write_all(words.as_bytes()).with_context(|| format!("telling {}", self.name))
    }

    /// Whether the program has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("looking at a program")?.is_none())
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Asks the program to end, and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        let start = Instant::now();
        if self.child.try_wait().context("looking at a program")?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::INT)
                .with_context(|| format!("ending {}", self.name))?;
        }
        while self.child.try_wait().context("looking at a program")?.is_none() {
            if start.elapsed() > STOP_DEADLINE {
                self.child.kill().with_context(|| format!("killing {}", self.name))?;
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// What the program said on standard error.
    pub fn told(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A program that does not end although it was killed can only be left.
        let _ended = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_ends_too_early_is_told_with_its_errors() {
        let out = std::env::temp_dir().join(format!("xtask-net-{}", std::process::id()));
        let mut shell = Command::new("sh");
        let mut program =
            Background::start("sh", shell.args(["-c", "echo broken >&2; exit 3"]), &out).unwrap();
        let error =
            program.wait_until("readiness", STOP_DEADLINE, || false).unwrap_err().to_string();
        assert!(error.contains("readiness") && error.contains("broken"), "{error}");
        fs::remove_file(&out).unwrap();
        fs::remove_file(out.with_extension("errors")).unwrap();
    }

    #[test]
    fn program_is_ended_by_its_id() {
        let out = std::env::temp_dir().join(format!("xtask-net-end-{}", std::process::id()));
        let mut program =
            Background::start("sleep", Command::new("sleep").arg("60"), &out).unwrap();
        assert!(program.is_running().unwrap());
        program.stop().unwrap();
        assert!(!program.wait().unwrap().success());
        fs::remove_file(&out).unwrap();
        fs::remove_file(out.with_extension("errors")).unwrap();
    }
}
