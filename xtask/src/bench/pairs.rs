//! A watcher comes in; the time of an `SSL_write` with the `SSL_read` that takes its bytes, by size, goes out.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::net::Net;
use crate::bench::watch::{self, Programs, Watcher};
use crate::shell::{output, run};

/// The program that makes the calls.
const SOURCE: &str = include_str!("pair.c");

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Bytes written and read.
    pub size: u64,
    /// Whether the connection leads to an AI provider.
    pub is_ai: bool,
    /// Median time, in nanoseconds.
    pub nanoseconds: f64,
}

/// Sizes and kinds of connections, under one watcher.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// The measurements.
    pub pairs: Vec<Pair>,
    /// Losses that the watcher told of.
    pub losses: usize,
}

/// Compiles the program.
pub fn compile(program: &Path) -> Result<()> {
    let source = program.with_extension("c");
    fs::write(&source, SOURCE).with_context(|| format!("writing {}", source.display()))?;
    run(Command::new("cc")
        .args(["-O2", "-o"])
        .arg(program)
        .arg(&source)
        .args(["-lssl", "-lcrypto"]))
}

/// Measures under one watcher. `clean` is the hash of the code without probes, as an earlier round without a watcher
/// has told it; the program then waits for probes, and says whether it had them to the end.
pub fn measure(
    watcher: Watcher,
    net: &Net,
    programs: &Programs,
    clean: &mut String,
) -> Result<Pairs> {
    let watching = watch::start(watcher, net, programs, "eager")?;
    let hash = if watcher == Watcher::Nobody { "0" } else { clean.as_str() };
    let told = output(Command::new(&programs.pair).arg(hash))?;
    let losses = watching.losses();
    watching.stop()?;
    let mut pairs = Vec::new();
    for line in told.lines() {
        let line: Value = serde_json::from_str(line).context("reading a measurement of pairs")?;
        if let Some(hash) = line.get("clean").and_then(Value::as_str) {
            hash.clone_into(clean);
            continue;
        }
        let probed =
            line.get("probed").and_then(Value::as_bool).context("a pair knows of probes")?;
        let expected = watcher != Watcher::Nobody;
        ensure!(probed == expected, "{} watches and libssl has probes: {probed}", watcher.name());
        pairs.push(pair(&line).context("a pair has its figures")?);
    }
    ensure!(!pairs.is_empty(), "no pairs were measured");
    Ok(Pairs { pairs, losses })
}

fn pair(line: &Value) -> Option<Pair> {
    Some(Pair {
        size: line.get("size")?.as_u64()?,
        is_ai: line.get("ai")?.as_bool()?,
        nanoseconds: line.get("median_ns")?.as_f64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_pair_is_read() {
        let line =
            "{\"size\":64,\"ai\":true,\"median_ns\":980.5,\"least_ns\":960.0,\"probed\":false}";
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(pair(&line), Some(Pair { size: 64, is_ai: true, nanoseconds: 980.5 }));
    }

    #[test]
    fn program_compiles_and_sees_clean_code() {
        let program = std::env::temp_dir().join(format!("xtask-pair-{}", std::process::id()));
        compile(&program).unwrap();
        let told = output(Command::new(&program).arg("0")).unwrap();
        fs::remove_file(&program).unwrap();
        fs::remove_file(program.with_extension("c")).unwrap();
        assert!(told.starts_with("{\"clean\":\""), "{told}");
        assert_eq!(told.matches("\"probed\":false").count(), 6, "{told}");
    }
}
