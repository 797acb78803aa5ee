//! Options come in; decoders and the whole sensor are measured beside what they compete with, and BENCHMARKS.md goes out.

mod decode;
mod machine;
mod net;
mod pairs;
mod system;
mod table;
mod traffic;
mod watch;

use std::fs;

use anyhow::{Context, Result};
use clap::Parser;

use crate::setup::{self, BENCH, Missing};
use crate::shell::{print, root, say};

use self::table::Report;

/// Measures the decoders and the whole sensor.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Rounds of each way to watch, in turn; medians are taken over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement of the TLS server.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only the decoders, which need no privilege; nothing is written.
    #[arg(long, conflicts_with = "system")]
    decode: bool,
    /// Only the whole sensor; nothing is written.
    #[arg(long)]
    system: bool,
    /// Print what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// Measures, prints the tables and, where all was measured, writes them into BENCHMARKS.md.
pub fn run(arguments: &[String]) -> Result<()> {
    let name = std::iter::once("cargo xtask bench".to_owned());
    let options = Options::try_parse_from(name.chain(arguments.iter().cloned()))?;
    let missing = if options.no_install { Missing::Tell } else { Missing::Install };
    let is_root = rustix::process::geteuid().is_root();
    let with_system = is_root && !options.decode;
    let tools = setup::tools(if with_system { BENCH } else { &[] }, missing)?;
    let mut report = Report { machine: machine::describe(), ..Report::default() };
    if with_system {
        report.system = Some(system::measure(&tools, options.rounds, options.seconds)?);
    } else if !options.decode {
        say("the whole sensor is left out: it needs root");
    }
    if !options.system {
        report.decode = decode::measure(&tools)?;
    }
    let text = report.to_string();
    print(&text);
    if report.system.is_some() && !report.decode.is_empty() {
        let file = root()?.join("BENCHMARKS.md");
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        say(&format!("written to {}", file.display()));
    }
    Ok(())
}

/// The middle of some measurements; 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

/// The smallest of some measurements; 0 of none.
fn least(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_lies_between_the_two_in_the_middle() {
        let close = |left: f64, right: f64| (left - right).abs() < 1e-9;
        assert!(close(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(close(median(&[]), 0.0));
        assert!(close(least(&[3.0, 1.0, 2.0]), 1.0));
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        assert!(Options::try_parse_from(["bench", "--decode", "--system"]).is_err());
        assert_eq!(Options::try_parse_from(["bench"]).unwrap().rounds, 5);
    }
}
