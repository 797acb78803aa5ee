//! Rounds come in; the time of a client's `SSL_write` and of the `SSL_read`s of as many bytes goes out, by size and kind.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::document::{Section, goal};
use crate::bench::statistics::{median, most};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::{output, step};

/// Heading of the section.
pub const TITLE: &str = "Time of TLS calls";
/// The program that makes the calls.
pub const SOURCE: &str = include_str!("pair.c");
/// Sizes, in bytes.
const SIZES: [(u64, &str); 7] = [
    (16, "16 B"),
    (256, "256 B"),
    (1024, "1 KiB"),
    (4096, "4 KiB"),
    (16_384, "16 KiB"),
    (65_536, "64 KiB"),
    (1_048_576, "1 MiB"),
];
/// Rounds are long and their medians steady: more than these tell nothing new.
const ROUNDS_MAX: u32 = 3;
/// What a write and a read of a call may take longer, in microseconds.
const ADDED_MAX_US: f64 = 20.0;
/// Sizes for which that is a goal: larger ones cost their copy.
const GOAL_SIZES: usize = 5;
/// Ways to watch, in the order of a round. Last: the sensor runs, and the process has shown no intent.
const WAYS: [(Watcher, Attach); 4] = [
    (Watcher::Nobody, Attach::Eager),
    (Watcher::Tollgate, Attach::Eager),
    (Watcher::Bpftrace, Attach::Eager),
    (Watcher::Tollgate, Attach::Intent),
];

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    size: u64,
    /// Whether the connection leads to an AI provider.
    is_ai: bool,
    nanoseconds: f64,
}

/// Measurements, and records lost meanwhile, by way and round.
#[derive(Debug, Default)]
struct Table {
    pairs: [Vec<Pair>; 4],
    lost: u64,
}

/// Measures in rounds and writes the section.
pub fn measure(bench: &Bench<'_>) -> Result<Section> {
    let mut table = Table::default();
    let mut clean = "0".to_owned();
    let rounds = bench.effort.rounds.min(ROUNDS_MAX);
    for round in 1..=rounds {
        step(&format!("pairs of TLS calls, round {round} of {rounds}"), || {
            for (way, told) in WAYS.iter().zip(&mut table.pairs) {
                let (pairs, lost) = one(bench, *way, &mut clean)?;
                told.extend(pairs);
                table.lost = table.lost.saturating_add(lost);
            }
            Ok(())
        })?;
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&table) })
}

/// Measures one way. `clean` is the hash of the code without probes, as the first round with nobody watching tells it; the
/// program then waits for probes where they are to come, and says whether it had them to the end.
fn one(
    bench: &Bench<'_>,
    (watcher, attach): (Watcher, Attach),
    clean: &mut String,
) -> Result<(Vec<Pair>, u64)> {
    let watching = watch::start(watcher, bench, attach)?;
    let is_probed = watcher != Watcher::Nobody && attach == Attach::Eager;
    let mut program = Command::new(&bench.programs.pair);
    program.arg(if watcher == Watcher::Nobody { "0" } else { clean.as_str() });
    let told = output(program.arg(if is_probed { "1" } else { "0" }))?;
    let lost = watching.losses().values().sum();
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
        ensure!(probed == is_probed, "{} watches and libssl has probes: {probed}", watcher.name());
        pairs.push(pair(&line).context("a pair has its figures")?);
    }
    ensure!(!pairs.is_empty(), "no pairs were measured");
    Ok((pairs, lost))
}

fn pair(line: &Value) -> Option<Pair> {
    Some(Pair {
        size: line.get("size")?.as_u64()?,
        is_ai: line.get("ai")?.as_bool()?,
        nanoseconds: line.get("median_ns")?.as_f64()?,
    })
}

impl Table {
    /// Median time of a pair, in microseconds.
    fn time(&self, way: usize, size: u64, is_ai: bool) -> f64 {
        let pairs = self.pairs.get(way).map_or(&[][..], Vec::as_slice);
        let same = pairs.iter().filter(|pair| pair.size == size && pair.is_ai == is_ai);
        median(&same.map(|pair| pair.nanoseconds / 1000.0).collect::<Vec<_>>())
    }

    /// What a way adds to the time with nobody watching.
    fn added(&self, way: usize, size: u64, is_ai: bool) -> f64 {
        self.time(way, size, is_ai) - self.time(0, size, is_ai)
    }
}

fn text(table: &Table) -> String {
    let added: Vec<_> =
        SIZES.iter().take(GOAL_SIZES).map(|(size, _)| table.added(1, *size, true)).collect();
    let worst = most(&added);
    let mut text = goal(
        "less than 20 µs added to a write and a read of a watched connection, up to a TLS record of 16 KiB each",
        &format!("{worst:.1} µs at most"),
        worst < ADDED_MAX_US,
    );
    text.push_str(
        "\nOne `SSL_write` of a client and its `SSL_read`s of as many bytes (16 KiB each at most). The other end is in the same \
         process and joined in memory: encryption and decryption, no system call. \"Watched\" leads to an AI provider; \
         \"ignored\" is a connection of the same process that leads elsewhere; \"no probes\" is a process that has shown no \
         intent while the sensor runs. Median microseconds; in brackets what is added to the time with nobody watching.\n\n\
         | bytes | nobody | Tollgate, watched | Tollgate, ignored | Tollgate, no probes | bpftrace script |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    for (size, name) in SIZES {
        let cell = |way: usize, is_ai: bool| {
            format!("{:.2} (+{:.2})", table.time(way, size, is_ai), table.added(way, size, is_ai))
        };
        let bare = table.time(0, size, true);
        text.extend([format!(
            "| {name} | {bare:.2} | {} | {} | {} | {} |\n",
            cell(1, true),
            cell(1, false),
            cell(3, true),
            cell(2, true)
        )]);
    }
    text.extend([format!("\nRecords that the sensor says were lost meanwhile: {}.\n", table.lost)]);
    text.replace("(+-", "(-")
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
        let source = program.with_extension("c");
        std::fs::write(&source, SOURCE).unwrap();
        crate::bench::servers::compile(&source, &program).unwrap();
        let told = output(Command::new(&program).args(["0", "0"])).unwrap();
        std::fs::remove_file(&program).unwrap();
        std::fs::remove_file(&source).unwrap();
        assert!(told.starts_with("{\"clean\":\""), "{told}");
        assert_eq!(told.matches("\"probed\":false").count(), 2 * SIZES.len(), "{told}");
    }

    #[test]
    fn worst_of_the_usual_sizes_is_what_the_goal_is_about() {
        let pair = |size, is_ai, nanoseconds| Pair { size, is_ai, nanoseconds };
        let mut table = Table::default();
        table.pairs[0] =
            vec![pair(16, true, 1000.0), pair(16_384, true, 9000.0), pair(1_048_576, true, 1e6)];
        table.pairs[1] =
            vec![pair(16, true, 5500.0), pair(16_384, true, 30_500.0), pair(1_048_576, true, 3e6)];
        let text = text(&table);
        assert!(text.contains("21.5 µs at most, **missed**"), "{text}");
        assert!(text.contains("| 16 B | 1.00 | 5.50 (+4.50) |"), "{text}");
    }
}
