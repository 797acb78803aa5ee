//! The output of every test program comes in and is passed on; the sum of their results goes out as the last line.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::setup::{self, Missing, TEST};
use crate::shell::{cargo, print, root, say};

/// Failed tests that are run again, by themselves; more than these are no accident of a busy machine.
const AGAIN_MAX: usize = 5;
/// How a failure says that something did not come in time, as `tollgate_tests::harness::wait_until` does.
const WAITED: [&str; 2] = ["waited ", " in vain for "];

/// Results of tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Names of what failed, in the order in which it was said.
    names: Vec<String>,
    /// Names of those that failed because something did not come in time.
    late: Vec<String>,
    /// The test whose output is being read.
    told_of: Option<String>,
    /// Names of what failed beside others and passed by itself.
    again: Vec<String>,
}

/// Sets up, builds both halves and runs every test, or those whose name holds `filter`.
pub fn run(missing: Missing, filter: Option<&str>) -> Result<()> {
    setup::machine(missing)?;
    let tools = setup::tools(TEST, missing)?;
    build::kernel_half(&tools)?;
    say("building the sensor and the tests that run it");
    // In one selection: another one has other features of what is shared, and everything would be built twice.
    let mut command = cargo();
    command.current_dir(root()?).args(["build", "--workspace", "--bins", "--tests"]);
    crate::shell::run(&mut command)?;
    say("running the tests");
    let mut tally = Tally::default();
    let tests = watch(&mut workspace()?, filter.as_slice(), &mut tally)?;
    let tests = if tests.success() { tests } else { by_themselves(tests, &mut tally)? };
    if !tally.again.is_empty() {
        say(&format!(
            "failed beside the other tests and passed by itself, which is a fault to mend: {}",
            tally.again.join(", ")
        ));
    }
    print(&tally.line());
    if !tests.success() {
        bail!("cargo test failed ({tests}); what to do: see the first failure above");
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn workspace() -> Result<Command> {
    let mut command = cargo();
    command.current_dir(root()?).args(["test", "--workspace", "--no-fail-fast"]);
    Ok(command)
}

/// Runs the few tests that failed once more, one after the other with the machine to themselves; the first failure stays in the output.
fn by_themselves(first: ExitStatus, tally: &mut Tally) -> Result<ExitStatus> {
    // What broke without a test's name, such as a test that does not build, is not run again.
    let Some(names) = tally.few() else { return Ok(first) };
    say(&format!("running by themselves what failed: {}", names.join(", ")));
    let mut second = Tally::default();
    let mut arguments = vec!["--exact", "--test-threads=1"];
    arguments.extend(names.iter().map(String::as_str));
    let status = watch(&mut workspace()?, &arguments, &mut second)?;
    Ok(if tally.settle(&second) { status } else { first })
}

/// Runs tests, passes their output on and counts their results.
fn watch(command: &mut Command, arguments: &[&str], tally: &mut Tally) -> Result<ExitStatus> {
    command.arg("--").args(arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let out = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(out).lines() {
        let line = line.context("reading the output of the tests")?;
        print(&line);
        tally.add(&line);
    }
    child.wait().context("waiting for cargo test")
}

impl Tally {
    /// Adds a line of libtest: `test NAME ... FAILED` or `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let failed = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        self.names.extend(failed.map(str::to_owned));
        if let Some(head) = line.strip_prefix("---- ") {
            self.told_of = head.strip_suffix(" stdout ----").map(str::to_owned);
        } else if WAITED.iter().all(|part| line.contains(part)) {
            self.late.extend(self.told_of.take());
        }
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let mut words = part.split(' ');
            let count = words.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
            let sum = match words.next() {
                Some("passed") => &mut self.passed,
                Some("failed") => &mut self.failed,
                Some("ignored") => &mut self.skipped,
                _ => continue,
            };
            *sum = sum.saturating_add(count);
        }
    }

    /// The names of the failed tests, if they are few and each of them waited in vain: a fact that is wrong once, such as a
    /// denied byte that arrived, is wrong.
    fn few(&self) -> Option<Vec<String>> {
        let all = u64::try_from(self.names.len()) == Ok(self.failed)
            && self.names.iter().all(|name| self.late.contains(name));
        (all && (1..=AGAIN_MAX).contains(&self.names.len())).then(|| self.names.clone())
    }

    /// Takes over what a second run of the failed tests says of them; false if it did not run each of them.
    fn settle(&mut self, second: &Self) -> bool {
        if second.passed.saturating_add(second.failed) != self.failed {
            return false;
        }
        let (names, again) = self.names.drain(..).partition(|name| second.names.contains(name));
        self.names = names;
        self.again = again;
        self.passed = self.passed.saturating_add(second.passed);
        self.failed = second.failed;
        true
    }

    fn line(&self) -> String {
        let Self { passed, failed, skipped, .. } = self;
        let skipped = if *skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
        format!("{passed} passed, {failed} failed{skipped}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "test chunked_body_ends ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2, skipped: 1, ..Tally::default() });
        assert_eq!(tally.line(), "15 passed, 2 failed, 1 skipped");
    }

    /// Ten tests passed, and these failed.
    fn failed(names: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for name in names {
            tally.add(&format!("test {name} ... FAILED"));
        }
        for name in names {
            tally.add(&format!("---- {name} stdout ----"));
            tally.add("no event for killed 1 /v1: waited 20s in vain for the call's event");
        }
        tally.add(&format!("test result: FAILED. 10 passed; {} failed; 0 ignored", names.len()));
        tally
    }

    #[test]
    fn what_passes_by_itself_is_passed_and_named() {
        let mut tally = failed(&["slow", "broken"]);
        assert_eq!(tally.few(), Some(vec!["slow".to_owned(), "broken".to_owned()]));
        let mut second = Tally::default();
        second.add("test broken ... FAILED");
        second.add("test result: FAILED. 1 passed; 1 failed; 0 ignored");
        assert!(tally.settle(&second));
        assert_eq!(tally.line(), "11 passed, 1 failed");
        assert_eq!(
            (tally.names, tally.again),
            (vec!["broken".to_owned()], vec!["slow".to_owned()])
        );
    }

    #[test]
    fn second_run_that_did_not_run_them_settles_nothing() {
        let mut tally = failed(&["slow"]);
        let before = tally.clone();
        assert!(!tally.settle(&Tally::default()));
        assert_eq!(tally, before);
    }

    #[test]
    fn many_failures_and_nameless_ones_are_not_run_again() {
        assert_eq!(failed(&["a", "b", "c", "d", "e", "f"]).few(), None);
        let mut nameless = Tally::default();
        nameless.add("test result: FAILED. 3 passed; 1 failed; 0 ignored");
        assert_eq!(nameless.few(), None);
        assert_eq!(Tally::default().few(), None);
    }

    #[test]
    fn failure_by_a_fact_is_not_run_again() {
        let mut tally = failed(&["slow"]);
        for line in [
            "test leaks ... FAILED",
            "---- leaks stdout ----",
            "denied requests arrived",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored",
        ] {
            tally.add(line);
        }
        assert_eq!(tally.few(), None);
    }

    #[test]
    fn closing_line_without_skipped_tests_has_two_numbers() {
        let tally = Tally { passed: 4, ..Tally::default() };
        assert_eq!(tally.line(), "4 passed, 0 failed");
    }
}
