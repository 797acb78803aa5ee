//! Rounds come in; what AI calls cost their client and the sensor goes out.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::document::{Section, goal};
use crate::bench::process::{memory, processor_seconds, wake_ups};
use crate::bench::servers::{Load, Servers};
use crate::bench::statistics::{all, median, most, spread};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::step;

/// Heading of the section.
pub const TITLE: &str = "Cost of AI calls";
/// Calls a second: far from saturation, so that times are those of calls and not of queues.
const CALLS_A_SECOND: u32 = 400;
/// Connections they go over.
const CONNECTIONS: u32 = 8;
/// Memory that the sensor may have resident, in MiB.
const MEMORY_MAX: f64 = 64.0;
/// Who is compared.
const WATCHERS: [Watcher; 2] = [Watcher::Nobody, Watcher::Tollgate];

/// What one round came to.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    calls_made: usize,
    calls_seen: usize,
    losses: u64,
    /// Processor time of the client for a call, in microseconds; what the probes do is part of it.
    client_us: f64,
    /// Processor time of the watcher for 1,000 calls, in milliseconds.
    watcher_ms: f64,
    /// Times that the watcher woke up for 1,000 calls.
    wake_ups: f64,
    /// Most memory that the watcher had resident, in MiB.
    memory: f64,
    median_us: f64,
    p99_us: f64,
}

/// Measures in rounds and writes the section.
pub fn measure(bench: &Bench<'_>, servers: &Servers<'_>) -> Result<Section> {
    let mut costs: [Vec<Cost>; 2] = Default::default();
    for round in 1..=bench.effort.rounds {
        step(&format!("a load of AI calls, round {round} of {}", bench.effort.rounds), || {
            WATCHERS.iter().zip(&mut costs).try_for_each(|(watcher, told)| {
                told.push(one(bench, servers, *watcher)?);
                Ok(())
            })
        })?;
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&costs) })
}

fn one(bench: &Bench<'_>, servers: &Servers<'_>, watcher: Watcher) -> Result<Cost> {
    let watching = watch::start(watcher, bench, Attach::Intent)?;
    let calls = CALLS_A_SECOND.saturating_mul(bench.effort.seconds);
    let mut load = servers.load(Load { calls, rate: CALLS_A_SECOND, connections: CONNECTIONS })?;
    watching.settle();
    let base = watching.calls();
    let client = load.id();
    let before = (processor_seconds(client)?, used(watching.id())?);
    load.go()?;
    // The client's times are gone when it has ended: they are read while it makes its last calls.
    let mut last = processor_seconds(client)?;
    while load.is_running()? {
        std::thread::sleep(std::time::Duration::from_millis(20));
        last = processor_seconds(client).unwrap_or(last);
    }
    let figures = load.finish()?;
    let made = usize::try_from(figures.calls)?;
    watching.wait_for_calls(base.saturating_add(made));
    let after = used(watching.id())?;
    let memory = watching.id().map(memory).transpose()?.unwrap_or_default();
    let calls_seen = watching.calls().saturating_sub(base);
    let losses = watching.losses().values().sum();
    watching.stop()?;
    let calls = f64::from(figures.calls);
    Ok(Cost {
        calls_made: made,
        calls_seen,
        losses,
        client_us: (last - before.0) * 1e6 / calls,
        watcher_ms: (after.0 - before.1.0) * 1e6 / calls,
        wake_ups: (after.1 - before.1.1) * 1e3 / calls,
        memory: mebibytes(memory.most),
        median_us: figures.median_us,
        p99_us: figures.p99_us,
    })
}

/// Processor seconds and wake-ups of a watcher so far.
fn used(id: Option<u32>) -> Result<(f64, f64)> {
    let Some(id) = id else { return Ok((0.0, 0.0)) };
    Ok((processor_seconds(id)?, u32::try_from(wake_ups(id)?).map_or(f64::MAX, f64::from)))
}

/// KiB as MiB.
pub fn mebibytes(kibibytes: u64) -> f64 {
    u32::try_from(kibibytes).map_or(f64::MAX, f64::from) / 1024.0
}

fn text(costs: &[Vec<Cost>; 2]) -> String {
    let [_, ours] = costs;
    let memory = most(&all(ours, |cost| cost.memory));
    let mut text = goal(
        "resident memory under 64 MiB",
        &format!("{memory:.1} MiB at most"),
        memory < MEMORY_MAX,
    );
    let cost = median(&all(ours, |cost| cost.watcher_ms));
    text.extend([format!("- Processor time of the sensor for 1,000 calls: {cost:.0} ms.\n")]);
    text.extend([format!(
        "\nStreamed calls, {CALLS_A_SECOND} a second, over {CONNECTIONS} keep-alive connections of one process: requests of 4 KiB, answers of \
         50 chunks. What the probes do is part of the client's time; its times are counted in clock ticks.\n\n\
         | watched by | client CPU µs/call | watcher CPU ms/1,000 calls | watcher wake-ups/1,000 calls | median call, µs | 99 % of calls, µs | made | seen | records lost |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )]);
    for (watcher, costs) in WATCHERS.iter().zip(costs) {
        let is_ours = *watcher == Watcher::Tollgate;
        let ours = |cell: String| if is_ours { cell } else { "—".to_owned() };
        let sum = |of: fn(&Cost) -> usize| costs.iter().map(of).sum::<usize>();
        let cells = [
            watcher.name().to_owned(),
            spread(&all(costs, |cost| cost.client_us), 0),
            ours(spread(&all(costs, |cost| cost.watcher_ms), 0)),
            ours(format!("{:.0}", median(&all(costs, |cost| cost.wake_ups)))),
            spread(&all(costs, |cost| cost.median_us), 0),
            spread(&all(costs, |cost| cost.p99_us), 0),
            sum(|cost| cost.calls_made).to_string(),
            ours(sum(|cost| cost.calls_seen).to_string()),
            ours(costs.iter().map(|cost| cost.losses).sum::<u64>().to_string()),
        ];
        text.extend([format!("| {} |\n", cells.join(" | "))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_watcher_has_its_row_and_memory_its_goal() {
        let cost = |watcher_ms, memory| Cost {
            calls_made: 9,
            calls_seen: 8,
            losses: 2,
            watcher_ms,
            memory,
            ..Cost::default()
        };
        let text = text(&[vec![cost(0.0, 0.0)], vec![cost(80.0, 65.5)]]);
        assert!(text.contains("65.5 MiB at most, **missed**"), "{text}");
        assert!(text.contains("| nobody | 0 | — | — | 0 | 0 | 9 | — | — |"), "{text}");
        assert!(text.contains("| Tollgate | 0 | 80 | 0 | 0 | 0 | 9 | 8 | 2 |"), "{text}");
    }
}
