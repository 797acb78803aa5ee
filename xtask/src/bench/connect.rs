//! Rounds come in; what connections and packets of a program that does not talk to AI cost goes out.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::document::Section;
use crate::bench::statistics::{median, spread};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::{output, step};

/// Heading of the section.
pub const TITLE: &str = "Connections and packets of others";
/// The program that makes them.
pub const SOURCE: &str = include_str!("connect.c");
/// Kinds of measurements, as the program calls them, and what they are.
const KINDS: [(&str, &str); 5] = [
    ("connect", "a TCP connection made, accepted and reset"),
    ("tcp", "1 KiB sent and received over TCP"),
    ("udp", "64 bytes sent and received over UDP"),
    ("tcp_asked", "1 KiB over TCP, in a workload that asks for AI names"),
    ("udp_asked", "64 bytes over UDP, in a workload that asks for AI names"),
];
/// Who is compared: bpftrace's script looks at no packet.
const WATCHERS: [Watcher; 2] = [Watcher::Nobody, Watcher::Tollgate];

/// Nanoseconds in the order of `KINDS`.
type Times = [f64; 5];

/// Measures in rounds and writes the section.
pub fn measure(bench: &Bench<'_>) -> Result<Section> {
    let mut rounds: [Vec<Times>; 2] = Default::default();
    step("connections and packets", || {
        for _ in 0..bench.effort.rounds {
            for (watcher, told) in WATCHERS.iter().zip(&mut rounds) {
                let watching = watch::start(*watcher, bench, Attach::Intent)?;
                let text = output(&mut bench.net.command(&bench.programs.connect))?;
                watching.stop()?;
                told.push(times(&text)?);
            }
        }
        Ok(())
    })?;
    Ok(Section { title: TITLE.to_owned(), text: text(&rounds) })
}

fn times(told: &str) -> Result<Times> {
    let mut times = Times::default();
    for ((kind, _), (line, time)) in KINDS.iter().zip(told.lines().zip(&mut times)) {
        let line: Value = serde_json::from_str(line).context("reading a measurement")?;
        anyhow::ensure!(
            line.get("kind").and_then(Value::as_str) == Some(kind),
            "{kind} is expected: {line}"
        );
        *time =
            line.get("median_ns").and_then(Value::as_f64).context("a measurement has a median")?;
    }
    Ok(times)
}

fn text(rounds: &[Vec<Times>; 2]) -> String {
    let mut text = "A program without probes, both ends of whose connections are in one thread. Nanoseconds; what is added is \
        the median over the rounds, each beside the same round with nobody watching.\n\n\
        | what | nobody | Tollgate | added |\n|---|---:|---:|---:|\n"
        .to_owned();
    for (index, (_, what)) in KINDS.iter().enumerate() {
        let of = |rounds: &[Times]| -> Vec<f64> {
            rounds.iter().filter_map(|times| times.get(index).copied()).collect()
        };
        let [bare, ours] = rounds;
        let (bare, ours) = (of(bare), of(ours));
        let added: Vec<_> = bare.iter().zip(&ours).map(|(bare, ours)| ours - bare).collect();
        let (nobody, tollgate) = (spread(&bare, 0), spread(&ours, 0));
        text.extend([format!("| {what} | {nobody} | {tollgate} | {:.0} |\n", median(&added))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_measures_every_kind() {
        let program = std::env::temp_dir().join(format!("xtask-connect-{}", std::process::id()));
        let source = program.with_extension("c");
        std::fs::write(&source, SOURCE).unwrap();
        crate::bench::servers::compile(&source, &program).unwrap();
        let told = output(&mut std::process::Command::new(&program)).unwrap();
        std::fs::remove_file(&program).unwrap();
        std::fs::remove_file(&source).unwrap();
        assert!(times(&told).unwrap().iter().all(|time| *time > 100.0), "{told}");
    }

    #[test]
    fn added_time_is_that_of_the_same_round() {
        let text = text(&[
            vec![[100.0, 10.0, 1.0, 9.0, 1.0], [200.0, 10.0, 1.0, 9.0, 1.0]],
            vec![[110.0, 10.0, 1.0, 9.0, 1.0], [210.0, 10.0, 1.0, 9.0, 1.0]],
        ]);
        assert!(text.contains("| a TCP connection made, accepted and reset | 150 (100 to 200) | 160 (110 to 210) | 10 |"), "{text}");
    }
}
