//! Names of fuzz targets come in; each is run for a while, and the inputs that break it go out as an error.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::build;
use crate::setup::{self, Missing};
use crate::shell::{cargo, find, output, print, root, run as run_shown, say, step, target};

/// The version that the targets are run with.
const VERSION: &str = "0.13.1";

/// Longest input tried, in bytes: every format under test says all it has to say in less.
const LENGTH_MAX: u32 = 4096;
/// Most memory one target may use, in MiB: what a peer sends may not cost more.
const MEMORY_MIB_MAX: u32 = 1024;
/// Longest time one input may take, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;

/// How the targets are built: overflows are findings, and nothing waits for a linker that knows the whole program.
const PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
];

/// Lines of a failed target's log that are shown.
const LOG_LINES: usize = 30;

/// Runs fuzz targets on this machine's stable compiler.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz")]
struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Print what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
    /// Only these targets.
    targets: Vec<String>,
}

/// What a run of one target came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    target: String,
    executions: Option<u64>,
    finding: bool,
}

/// Runs all targets, or those named; fails where one of them finds something.
pub fn run(arguments: &[String]) -> Result<()> {
    let name = std::iter::once("cargo xtask fuzz".to_owned());
    let options = Options::try_parse_from(name.chain(arguments.iter().cloned()))?;
    let missing = if options.no_install { Missing::Tell } else { Missing::Install };
    // The agent's library carries the kernel half, so that has to be there, although no target runs it.
    build::kernel_half(&setup::tools(&[], missing)?)?;
    let fuzzer = ensure_fuzzer(missing)?;
    let known = output(fuzz(&fuzzer, "list")?.current_dir(root()?))?;
    let known: Vec<&str> = known.lines().collect();
    for name in &options.targets {
        ensure!(known.contains(&name.as_str()), "no target is called {name}; there are {known:?}");
    }
    let wanted = |name: &&&str| {
        options.targets.is_empty() || options.targets.iter().any(|target| target == **name)
    };
    step("building the fuzz targets", || run_shown(fuzz(&fuzzer, "build")?.args(built()?)))?;
    let mut outcomes = Vec::new();
    for name in known.iter().filter(wanted) {
        outcomes.push(step(&format!("fuzzing {name}"), || one(&fuzzer, name, options.seconds))?);
    }
    conclude(&outcomes, options.seconds)
}

/// Finds `cargo-fuzz` in `target/tools` or `PATH`, or installs it.
fn ensure_fuzzer(missing: Missing) -> Result<PathBuf> {
    let tools = target()?.join("tools");
    let ours = tools.join("bin/cargo-fuzz");
    if let Some(found) =
        [Some(ours.clone()), find("cargo-fuzz")].into_iter().flatten().find(|file| file.is_file())
    {
        return Ok(found);
    }
    say(&format!("missing: cargo-fuzz {VERSION} (builds and runs the fuzz targets)"));
    if missing == Missing::Tell {
        bail!(
            "missing: cargo-fuzz; what to do: cargo install cargo-fuzz --version {VERSION} --locked"
        );
    }
    let mut install = cargo();
    install.args(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]).arg(&tools);
    install.env_remove("RUSTFLAGS").current_dir(std::env::temp_dir());
    step(&format!("installing cargo-fuzz {VERSION}, once"), || run_shown(&mut install))?;
    Ok(ours)
}

fn fuzz(fuzzer: &Path, task: &str) -> Result<Command> {
    let mut command = Command::new(fuzzer);
    command.args(["fuzz", task, "--fuzz-dir"]).arg(root()?.join("tests/fuzz"));
    // Flags that the project's other builds are given are none of the engine's.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR").current_dir(root()?);
    command.envs(PROFILE);
    Ok(command)
}

/// How `build` and `run` are told to build: with the engine, and in a folder where no other build waits.
fn built() -> Result<[String; 5]> {
    let folder = target()?.join("fuzz-build").display().to_string();
    Ok(["--sanitizer=none", "--features", "libfuzzer", "--target-dir", &folder].map(str::to_owned))
}

/// Runs one target; what it finds on its way is kept apart from the committed corpus.
fn one(fuzzer: &Path, name: &str, seconds: u32) -> Result<Outcome> {
    let fuzz_folder = root()?.join("tests/fuzz");
    let found = fuzz_folder.join("corpus-found").join(name);
    let log = target()?.join("fuzz").join(format!("{name}.log"));
    for folder in [Some(found.as_path()), log.parent()].into_iter().flatten() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut command = fuzz(fuzzer, "run")?;
    command.args(built()?).arg(name).arg(&found).arg(fuzz_folder.join("corpus").join(name));
    command.args(["--", "-print_final_stats=1", &format!("-max_total_time={seconds}")]);
    command.arg(format!("-max_len={LENGTH_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    let out = File::create(&log).with_context(|| format!("making {}", log.display()))?;
    command.stdin(Stdio::null()).stderr(out.try_clone().context("sharing the log")?).stdout(out);
    let status = command.status().context("starting cargo-fuzz")?;
    let text = String::from_utf8_lossy(&fs::read(&log).context("reading the log")?).into_owned();
    if !status.success() {
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).for_each(|line| say(line));
    }
    Ok(Outcome {
        target: name.to_owned(),
        executions: executions(&text),
        finding: !status.success(),
    })
}

/// The number in libFuzzer's last words.
fn executions(log: &str) -> Option<u64> {
    let number =
        log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    number.trim().parse().ok()
}

fn conclude(outcomes: &[Outcome], seconds: u32) -> Result<()> {
    print("| target | seconds | executions | findings |\n|---|---:|---:|---:|");
    for Outcome { target, executions, finding } in outcomes {
        let executions = executions.map_or_else(|| "?".to_owned(), |count| count.to_string());
        print(&format!("| {target} | {seconds} | {executions} | {} |", u8::from(*finding)));
    }
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.finding).map(|outcome| &*outcome.target).collect();
    ensure!(
        failed.is_empty(),
        "findings in {failed:?}; the inputs are in tests/fuzz/artifacts, what to do: mend the stage, put the input \
         into tests/fuzz/corpus"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_the_last_words() {
        let log = "#2\tINITED cov: 3\nstat::number_of_executed_units: 48213\nstat::average_exec_per_sec: 803\n";
        assert_eq!(executions(log), Some(48_213));
        assert_eq!(executions("error: could not compile"), None);
    }

    #[test]
    fn one_finding_fails_the_run_and_is_named() {
        let outcome = |target: &str, finding| Outcome {
            target: target.to_owned(),
            executions: Some(1),
            finding,
        };
        assert!(conclude(&[outcome("sse", false)], 1).is_ok());
        let error =
            conclude(&[outcome("sse", false), outcome("http2", true)], 1).unwrap_err().to_string();
        assert!(error.contains("http2") && !error.contains("sse"), "{error}");
    }

    #[test]
    fn options_have_a_default_and_refuse_nonsense() {
        let read = |words: &[&str]| Options::try_parse_from(["fuzz"].iter().chain(words));
        assert_eq!(read(&[]).unwrap().seconds, 60);
        assert_eq!(read(&["--seconds", "5", "sse"]).unwrap().targets, ["sse"]);
        assert!(read(&["--seconds", "0"]).is_err());
    }
}
