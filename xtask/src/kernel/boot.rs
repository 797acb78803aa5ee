//! A kernel and a file system come in; they are booted in QEMU without hardware help, and what the guest said goes out.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kernel::fetch::Image;

/// A guest that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(150);

/// How often the guest's end is looked for.
const POLL: Duration = Duration::from_millis(50);

/// The steps of `init.sh`, in order.
const STEPS: [&str; 8] = ["boot", "doctor", "attach", "call", "stop", "gate", "preemption", "end"];

/// The steps that a test of preemption alone takes.
const PREEMPTION_STEPS: [&str; 3] = ["boot", "preemption", "end"];

/// How the line begins in which the test of preemption says its figures.
const FIGURES: &str = "preemption: ";

/// What every guest's kernel is told.
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 oops=panic softlockup_panic=1 lsm=lockdown,yama,apparmor,bpf";

/// What a kernel in trouble writes on its console.
const TROUBLE: [&str; 4] = ["Kernel panic", "BUG: ", "Oops: ", "WARNING: CPU"];

/// How the agent begins the line that says why it ended.
const ERROR: &str = "Error: ";

/// So much of a line is told; the log has the rest.
const TOLD_CHARS_MAX: usize = 160;

/// What a guest said.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    /// Steps with the seconds since the kernel's start at which each ended well.
    pub passed: Vec<(String, f32)>,
    /// Figures that a step has measured.
    pub figures: Vec<String>,
    /// What went wrong.
    pub problems: Vec<String>,
}

/// Boots a kernel, for all steps or the test of preemption alone; the console is kept in `log`.
pub fn boot(image: &Image, guest: &Path, log: &Path, only_preemption: bool) -> Result<Report> {
    let mut command = Command::new("qemu-system-x86_64");
    // The PC machine boots every kernel here; microvm hangs the newest. One CPU: many threads meet on it.
    command.args(["-M", "pc", "-cpu", "max", "-smp", "1", "-m", "1024"]);
    command.args(["-accel", "tcg,thread=single", "-nodefaults", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&image.path).arg("-initrd").arg(guest);
    command.arg("-serial").arg(format!("file:{}", log.display()));
    // What the kernel does not know, the first process gets as a variable.
    let only = if only_preemption { " ONLY=preemption" } else { "" };
    command.arg("-append").arg(format!("{COMMAND_LINE}{only}"));
    let child = command.stdin(Stdio::null()).spawn().context("starting QEMU")?;
    let ended = Guest(child).wait()?;
    let console = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let steps: &[&str] = if only_preemption { &PREEMPTION_STEPS } else { &STEPS };
    let mut report = read(&String::from_utf8_lossy(&console), steps);
    if !ended {
        report.problems.push(format!("not done after {} s", DEADLINE.as_secs()));
    }
    Ok(report)
}

/// A running QEMU, which ends with its owner.
struct Guest(Child);

impl Guest {
    fn wait(mut self) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if self.0.try_wait().context("waiting for QEMU")?.is_some() {
                return Ok(true);
            }
            sleep(POLL);
        }
        Ok(false)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Lines are `guest: STEP ok SECONDS`.
fn read(console: &str, steps: &[&str]) -> Report {
    let mut report = Report::default();
    for line in console.lines() {
        if TROUBLE.iter().any(|trouble| line.contains(trouble)) {
            report.problems.push(shortened(line));
        }
        if line.starts_with(ERROR) {
            report.problems.push(shortened(line));
        }
        if let Some(figures) = line.trim().strip_prefix(FIGURES) {
            report.figures.push(shortened(figures));
        }
        let Some(told) = line.trim().strip_prefix("guest: ") else { continue };
        let words: Vec<_> = told.split(' ').collect();
        if let [step, "ok", seconds] = words.as_slice() {
            report.passed.push(((*step).to_owned(), seconds.parse().unwrap_or_default()));
        }
    }
    for step in steps {
        if !report.passed.iter().any(|(passed, _)| passed == step) {
            report.problems.push(format!("{step} failed"));
        }
    }
    report
}

fn shortened(line: &str) -> String {
    line.trim().chars().take(TOLD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "guest: boot ok 1.90\r\nguest: doctor ok 2.00\r\nguest: attach ok 3.10\r\n\
                        guest: call ok 5.00\r\nguest: stop ok 6.00\r\nguest: gate ok 6.02\r\n\
                        preemption: 4 threads, 0 corrupted\r\nguest: preemption ok 6.05\r\nguest: end ok 6.10\r\n";

    #[test]
    fn guest_that_did_every_step_has_no_problem() {
        let report = read(GOOD, &STEPS);
        assert_eq!(report.figures, ["4 threads, 0 corrupted"]);
        assert_eq!(report.problems, [""; 0]);
        assert_eq!(report.passed.last(), Some(&("end".to_owned(), 6.1)));
    }

    #[test]
    fn step_that_failed_or_never_came_is_a_problem() {
        let failed = GOOD.replace("call ok", "call failed");
        assert_eq!(read(&failed, &STEPS).problems, ["call failed"]);
        assert_eq!(read("", &STEPS).problems.len(), STEPS.len());
    }

    #[test]
    fn preemption_alone_needs_its_own_steps_only() {
        let text = "guest: boot ok 1.90\nguest: preemption ok 9.00\nguest: end ok 9.10\n";
        assert_eq!(read(text, &PREEMPTION_STEPS).problems, [""; 0]);
        let failed = text.replace("preemption ok", "preemption failed");
        assert_eq!(read(&failed, &PREEMPTION_STEPS).problems, ["preemption failed"]);
    }

    #[test]
    fn agents_last_words_are_told_and_long_ones_cut() {
        let report = read(&format!("{GOOD}Error: loading program {}\n", "x".repeat(9000)), &STEPS);
        let [told] = report.problems.as_slice() else { panic!("{report:?}") };
        assert!(told.starts_with("Error: loading") && told.len() == TOLD_CHARS_MAX);
    }

    #[test]
    fn kernel_in_trouble_is_a_problem() {
        let report = read(&format!("{GOOD}[    3.1] BUG: unable to handle page fault\n"), &STEPS);
        assert_eq!(report.problems.len(), 1);
    }
}
