//! The output of every test program comes in and is passed on; the sum of their results goes out as the last line.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::setup::{self, Missing, TEST};
use crate::shell::{cargo, print, root, say, target};

/// Results of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Sets up, builds both halves and runs every test, or those whose name holds `filter`.
pub fn run(missing: Missing, filter: Option<&str>) -> Result<()> {
    setup::machine(missing)?;
    let tools = setup::tools(TEST, missing)?;
    build::kernel_half(&tools)?;
    say("building the sensor that the tests run");
    let mut command = cargo();
    command.current_dir(root()?).args(["build", "--package", "sensor-user", "--bin", "tollgate"]);
    crate::shell::run(&mut command)?;
    say("running the tests");
    let mut tally = Tally::default();
    let mut command = cargo();
    command.current_dir(root()?).args(["test", "--workspace", "--no-fail-fast"]);
    let tests = watch(&mut command, filter, &mut tally)?;
    say("replaying the corpus of the fuzz targets");
    let mut command = cargo();
    command.current_dir(root()?.join("tests/fuzz"));
    command.args(["test", "--locked", "--no-default-features", "--test", "replay"]);
    command.arg("--target-dir").arg(target()?);
    let replay = watch(&mut command, filter, &mut tally)?;
    print(&tally.line());
    for status in [tests, replay] {
        if !status.success() {
            bail!("cargo test failed ({status}); what to do: see the first failure above");
        }
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Runs tests, passes their output on and counts their results.
fn watch(command: &mut Command, filter: Option<&str>, tally: &mut Tally) -> Result<ExitStatus> {
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
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
    /// Adds a closing line of libtest: `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
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

    fn line(self) -> String {
        let Self { passed, failed, skipped } = self;
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
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
        assert_eq!(tally, Tally { passed: 15, failed: 2, skipped: 1 });
        assert_eq!(tally.line(), "15 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn closing_line_without_skipped_tests_has_two_numbers() {
        assert_eq!(Tally { passed: 4, failed: 0, skipped: 0 }.line(), "4 passed, 0 failed");
    }
}
