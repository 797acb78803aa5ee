//! Names of kernels come in; each boots in QEMU and runs load, attach and one TLS exchange; what held goes out.

mod boot;
mod cpio;
mod fetch;
mod guest;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::kernel::boot::Report;
use crate::setup::{self, KERNEL, Missing};
use crate::shell::{print, step, target};

/// A kernel should be through its steps in this time.
const SECONDS_GOOD: f32 = 60.0;

/// Kernels by the name that a person gives them, with Debian's suite that holds each.
const KERNELS: [(&str, &str); 5] = [
    ("5.10", "bullseye-security"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
    ("backports", "trixie-backports"),
    ("newest", "sid"),
];

/// Which kernels, and where they come from.
#[derive(clap::Args)]
pub struct Options {
    /// 5.10, 6.1, 6.12, backports or newest, or a suite of Debian; all where none is named.
    kernels: Vec<String>,
    /// Fetch newer packages of the kernels that are here already.
    #[arg(long)]
    update: bool,
    /// Only the test that no thread's bytes are taken for another's.
    #[arg(long)]
    preemption: bool,
    /// Test this program instead of building one.
    #[arg(long)]
    tollgate: Option<PathBuf>,
    /// Mirror of Debian's archive; the one of this machine's apt where it is not said.
    #[arg(long)]
    archive: Option<String>,
    /// Mirror of Debian's security archive.
    #[arg(long)]
    security_archive: Option<String>,
}

/// Boots each kernel and prints one line for it.
pub fn run(options: &Options) -> Result<()> {
    let chosen = choose(&options.kernels)?;
    let tools = setup::tools(KERNEL, Missing::Install)?;
    let tollgate = match &options.tollgate {
        Some(path) => path.clone(),
        None => build::all(&tools, Profile::Release)?,
    };
    let folder = target()?.join("kernel");
    fs::create_dir_all(&folder).context("making the folder of the kernels")?;
    let checker = build::program("tollgate-tests", "preemption", Profile::Debug)?;
    let guest =
        step("making the guest's file system", || guest::build(&tollgate, &checker, &folder))?;
    let mut failed = Vec::new();
    for (name, suite) in chosen {
        let image = fetch::image(suite, &folder, options)?;
        let log = folder.join(format!("{suite}.log"));
        let start = Instant::now();
        let report = boot::boot(&image, &guest, &log, options.preemption)?;
        let seconds = start.elapsed().as_secs_f32();
        print(&line(&image.release, &report, seconds));
        if !report.problems.is_empty() {
            print(&format!("     the guest's console is in {}", log.display()));
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed on: {}", failed.join(", "))
}

fn choose(wanted: &[String]) -> Result<Vec<(&'static str, &'static str)>> {
    if wanted.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    let find = |word: &String| {
        let row = KERNELS.iter().find(|(name, suite)| word == name || word == suite);
        let names: Vec<_> = KERNELS.iter().map(|(name, _)| *name).collect();
        row.copied()
            .with_context(|| format!("no kernel is called {word}; there are {}", names.join(", ")))
    };
    wanted.iter().map(find).collect()
}

fn line(release: &str, report: &Report, seconds: f32) -> String {
    let passed = report.passed.iter().map(|(step, at)| format!("{step} {at:.1}"));
    let passed: Vec<_> = passed.collect();
    let state = if report.problems.is_empty() { "OK  " } else { "FAIL" };
    let slow = if seconds > SECONDS_GOOD { " (slow)" } else { "" };
    let mut text = format!("{state} {release:<32} {seconds:>5.1} s{slow}  {}", passed.join(", "));
    for figures in &report.figures {
        text.push_str("\n     preemption: ");
        text.push_str(figures);
    }
    for problem in &report.problems {
        text.push_str("\n     ");
        text.push_str(problem);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name_and_by_suite() {
        let chosen = choose(&["6.1".to_owned(), "sid".to_owned()]).unwrap();
        assert_eq!(chosen, [("6.1", "bookworm"), ("newest", "sid")]);
        assert_eq!(choose(&[]).unwrap().len(), KERNELS.len());
        assert!(choose(&["4.19".to_owned()]).is_err());
    }

    #[test]
    fn line_says_what_failed() {
        let mut report = Report { passed: vec![("boot".to_owned(), 1.5)], ..Report::default() };
        assert!(line("6.1.0", &report, 9.0).starts_with("OK "));
        report.problems.push("call failed".to_owned());
        let text = line("6.1.0", &report, 61.0);
        assert!(
            text.starts_with("FAIL") && text.contains("slow") && text.ends_with("call failed"),
            "{text}"
        );
    }
}
