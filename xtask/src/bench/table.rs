//! Measurements come in; the text of BENCHMARKS.md goes out.

use std::fmt;

use crate::bench::decode::Decoded;
use crate::bench::median;
use crate::bench::system::System;
use crate::bench::traffic::Cost;
use crate::bench::watch::Watcher;

/// Sizes of TLS calls, in bytes.
const SIZES: [(u64, &str); 3] = [(64, "64 B"), (1024, "1 KiB"), (16_384, "16 KiB")];

/// Everything that was measured in one run.
#[derive(Debug, Default)]
pub struct Report {
    /// Names and values.
    pub machine: Vec<(&'static str, String)>,
    /// The decoders; empty where they were left out.
    pub decode: Vec<Decoded>,
    /// The whole sensor; `None` where it was left out.
    pub system: Option<System>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "# Benchmarks\n\nMade by `cargo xtask bench` in one run on one machine. Figures of different machines say \
             little about each other; the ratios within this run are what counts.\n\n",
        )?;
        f.write_str("| machine | |\n|---|---|\n")?;
        for (name, value) in &self.machine {
            writeln!(f, "| {name} | {value} |")?;
        }
        if let Some(system) = &self.system {
            server(f, system)?;
            pairs(f, system)?;
            costs(f, system)?;
        }
        if self.decode.is_empty() { Ok(()) } else { decoders(f, &self.decode) }
    }
}

fn server(f: &mut fmt::Formatter<'_>, system: &System) -> fmt::Result {
    f.write_str(
        "\n## A saturated TLS server that has nothing to do with AI\n\nnginx and wrk, both on libssl, in a network \
         namespace, while another process makes 20 AI calls a second. Rounds alternate; the share kept is the median \
         over the rounds, each beside the same round with nobody watching. The bpftrace script does the least that a \
         tracer of all TLS calls does: it notes the buffer at the entry and adds up bytes at the return.\n\n\
         | watched by | requests/s | kept | server CPU µs/request | AI calls made | AI calls seen |\n\
         |---|---:|---:|---:|---:|---:|\n",
    )?;
    for (index, (watcher, rounds)) in Watcher::ALL.iter().zip(&system.traffic).enumerate() {
        let (requests, kept) = system.kept(index);
        let made: u64 = rounds.iter().map(|round| round.calls_made).sum();
        let seen: usize = rounds.iter().map(|round| round.calls_seen).sum();
        let seen = if *watcher == Watcher::Tollgate { seen.to_string() } else { "—".to_owned() };
        let server = median(&rounds.iter().map(|round| round.server_us).collect::<Vec<_>>());
        let (name, kept) = (watcher.name(), kept * 100.0);
        writeln!(f, "| {name} | {requests:.0} | {kept:.1} % | {server:.2} | {made} | {seen} |")?;
    }
    Ok(())
}

fn pairs(f: &mut fmt::Formatter<'_>, system: &System) -> fmt::Result {
    f.write_str(
        "\n## Time of a pair of TLS calls\n\nOne `SSL_write` and the `SSL_read` that takes its bytes, both in one process \
         and joined in memory: encryption and decryption, no system call. The process carries probes on both sides of \
         the pair. \"Other\" is a connection of the same process that leads elsewhere. Median microseconds; in \
         brackets what is added to the time with nobody watching.\n\n\
         | connection | bytes | nobody | Tollgate | bpftrace script |\n|---|---:|---:|---:|---:|\n",
    )?;
    for (is_ai, kind) in [(true, "AI"), (false, "other")] {
        for (size, name) in SIZES {
            let [bare, tollgate, tracer] =
                [0, 1, 2].map(|watcher| system.pair(watcher, size, is_ai) / 1000.0);
            let (more, tracer_more) = (tollgate - bare, tracer - bare);
            writeln!(
                f,
                "| {kind} | {name} | {bare:.2} | {tollgate:.2} (+{more:.2}) | {tracer:.2} (+{tracer_more:.2}) |"
            )?;
        }
    }
    let losses: usize = system.pairs.iter().flatten().map(|round| round.losses).sum();
    writeln!(f, "\nLosses that the sensor told of meanwhile: {losses}.")
}

fn costs(f: &mut fmt::Formatter<'_>, system: &System) -> fmt::Result {
    f.write_str(
        "\n## A load of AI calls\n\n5,000 streamed calls at 500 a second over 8 keep-alive connections of one process: \
         requests of 4 KiB, answers of 50 chunks. Processor time is that of the watching process, medians over the \
         rounds.\n\n| watched by | CPU ms for 1,000 calls | median call, µs | calls made | calls seen | losses |\n\
         |---|---:|---:|---:|---:|---:|\n",
    )?;
    for (watcher, rounds) in Watcher::ALL.iter().zip(&system.costs) {
        let of = |fact: fn(&Cost) -> f64| median(&rounds.iter().map(fact).collect::<Vec<_>>());
        let made: u64 = rounds.iter().map(|round| round.calls_made).sum();
        let seen: usize = rounds.iter().map(|round| round.calls_seen).sum();
        let losses: usize = rounds.iter().map(|round| round.losses).sum();
        let is_ours = *watcher == Watcher::Tollgate;
        let ours = |count: usize| if is_ours { count.to_string() } else { "—".to_owned() };
        let (processor, time) = (of(|cost| cost.processor_ms), of(|cost| cost.median_us));
        let name = watcher.name();
        writeln!(
            f,
            "| {name} | {processor:.1} | {time:.0} | {made} | {} | {} |",
            ours(seen),
            ours(losses)
        )?;
    }
    Ok(())
}

fn decoders(f: &mut fmt::Formatter<'_>, decode: &[Decoded]) -> fmt::Result {
    f.write_str(
        "\n## Decoders\n\nOne thread, plaintext in pieces of 16 KiB as TLS records give it. \"Copy\" copies the same bytes \
         in the same run; \"of a copy\" is the time of the stage divided by that of the copy, each in its best sample. \
         Allocations are those of a round whose buffers have grown. `path` is everything from a ring's records to \
         priced calls: requests of 4 KiB, answers of 50 chunks.\n\n\
         | stage | GB/s | copy GB/s | of a copy | chunks/s | allocations |\n|---|---:|---:|---:|---:|---:|\n",
    )?;
    for stage in decode {
        let Decoded { name, ratio, allocations, chunks, unit, .. } = stage;
        let (speed, copy) = (stage.speed / 1e9, stage.copy_speed / 1e9);
        let rate = stage.chunks_a_second;
        writeln!(
            f,
            "| {name} | {speed:.2} | {copy:.1} | {ratio:.2} | {rate:.0} {unit} | {allocations} in {chunks} {unit} |"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::pairs::{Pair, Pairs};
    use crate::bench::traffic::Round;

    #[test]
    fn every_measurement_has_its_row() {
        let round =
            |requests| vec![Round { requests, server_us: 5.5, calls_made: 20, calls_seen: 20 }];
        let pair = |nanoseconds| {
            vec![Pairs { pairs: vec![Pair { size: 64, is_ai: true, nanoseconds }], losses: 0 }]
        };
        let cost = |processor_ms| {
            vec![Cost {
                calls_made: 5000,
                calls_seen: 4999,
                losses: 1,
                processor_ms,
                median_us: 900.0,
            }]
        };
        let decoded = Decoded {
            name: "sse".to_owned(),
            speed: 11e9,
            copy_speed: 50e9,
            ratio: 4.5,
            chunks_a_second: 700_000.0,
            allocations: 0,
            chunks: 64,
            unit: "pieces".to_owned(),
        };
        let system = System {
            traffic: [round(1000.0), round(990.0), round(400.0)],
            pairs: [pair(1000.0), pair(3500.0), pair(9000.0)],
            costs: [cost(0.0), cost(80.0), cost(5.0)],
        };
        let machine = vec![("kernel", "6.18".to_owned())];
        let text = Report { machine, decode: vec![decoded], system: Some(system) }.to_string();
        for row in [
            "| kernel | 6.18 |",
            "| Tollgate | 990 | 99.0 % | 5.50 | 20 | 20 |",
            "| bpftrace script | 400 | 40.0 % | 5.50 | 20 | — |",
            "| AI | 64 B | 1.00 | 3.50 (+2.50) | 9.00 (+8.00) |",
            "| Tollgate | 80.0 | 900 | 5000 | 4999 | 1 |",
            "| sse | 11.00 | 50.0 | 4.50 | 700000 pieces | 0 in 64 pieces |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }
}
