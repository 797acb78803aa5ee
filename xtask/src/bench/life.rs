//! The sensor comes and goes; how long starting, setting probes and stopping take, and its memory, go out.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::Bench;
use crate::bench::calls::mebibytes;
use crate::bench::document::{Section, goal};
use crate::bench::process::{Held, Memory, held, memory};
use crate::bench::servers::{Load, Servers};
use crate::bench::statistics::{all, most, spread};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::step;

/// Heading of the section.
pub const TITLE: &str = "Start, probes, stop, memory";
/// Processes that come and go.
const COMING: u32 = 20;
/// Processes that carry probes when the sensor stops.
const PROBED: u32 = 8;
/// Time in which it stops, in milliseconds.
const STOP_MAX_MS: f64 = 1000.0;
/// Memory that it may have resident, in MiB.
const MEMORY_MAX: f64 = 64.0;

/// What one life came to.
#[derive(Clone, Debug, Default)]
struct Life {
    ready_ms: f64,
    attach_us: Vec<f64>,
    stop_ms: f64,
    links: usize,
    idle: Memory,
    busy: Memory,
    held: Held,
}

/// Measures some lives and writes the section.
pub fn measure(bench: &Bench<'_>, servers: &Servers<'_>) -> Result<Section> {
    let mut lives = Vec::new();
    for round in 1..=bench.effort.rounds {
        let name = format!("start, probes and stop, round {round} of {}", bench.effort.rounds);
        lives.push(step(&name, || one(bench, servers))?);
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&lives) })
}

fn one(bench: &Bench<'_>, servers: &Servers<'_>) -> Result<Life> {
    let watching = watch::start(Watcher::Tollgate, bench, Attach::Intent)?;
    let id = watching.id().context("the sensor runs")?;
    let idle = memory(id)?;
    for _ in 0..COMING {
        let mut load = servers.load(Load { calls: 2, rate: 0, connections: 1 })?;
        load.go()?;
        load.finish()?;
    }
    // These wait for a word, and have probes while they do.
    let waiting: Vec<_> = (0..PROBED)
        .map(|_| servers.load(Load { calls: 1, rate: 0, connections: 1 }))
        .collect::<Result<_>>()?;
    watching.settle();
    let (busy, held) = (memory(id)?, held(id)?);
    let ready_ms = milliseconds(watching.ready_after);
    let attach_us = attach_times(&watching.log());
    let stop_ms = milliseconds(watching.stop()?);
    drop(waiting);
    Ok(Life { ready_ms, attach_us, stop_ms, links: held.links, idle, busy, held })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the sensor logs about the processes that it has given probes.
fn attach_times(log: &str) -> Vec<f64> {
    let lines =
        log.lines().filter(|line| line.contains("probes set") && !line.contains("probes=0 "));
    lines
        .filter_map(|line| {
            let (_, rest) = line.split_once("took_us=")?;
            rest.split_whitespace().next()?.parse().ok()
        })
        .collect()
}

fn text(lives: &[Life]) -> String {
    let stop = all(lives, |life| life.stop_ms);
    let memory = most(&all(lives, |life| mebibytes(life.busy.most)));
    let mut text = goal(
        "stops within a second",
        &format!("{:.0} ms at most", most(&stop)),
        most(&stop) < STOP_MAX_MS,
    );
    text.push_str(&goal(
        "resident memory under 64 MiB",
        &format!("{memory:.1} MiB at most"),
        memory < MEMORY_MAX,
    ));
    let attach: Vec<f64> = lives.iter().flat_map(|life| life.attach_us.iter().copied()).collect();
    let last = lives.last().cloned().unwrap_or_default();
    let links = last.links;
    let rows = [
        (
            "from start until everything is seen, ms".to_owned(),
            spread(&all(lives, |life| life.ready_ms), 0),
        ),
        (
            format!("all probes of one process set, µs ({} processes)", attach.len()),
            spread(&attach, 0),
        ),
        (
            format!(
                "stop, with {PROBED} processes that carry probes and {links} links, until the process is gone, ms"
            ),
            spread(&stop, 0),
        ),
        (
            "resident memory when ready, MiB".to_owned(),
            spread(&all(lives, |life| mebibytes(life.idle.resident)), 1),
        ),
        (
            "resident memory after the calls, MiB".to_owned(),
            spread(&all(lives, |life| mebibytes(life.busy.resident)), 1),
        ),
        ("of that: its own".to_owned(), spread(&all(lives, |life| mebibytes(life.busy.own)), 1)),
        (
            "of that: its file, and the pages of the two rings".to_owned(),
            spread(
                &all(lives, |life| mebibytes(life.busy.resident.saturating_sub(life.busy.own))),
                1,
            ),
        ),
        (
            format!("kernel memory of its {} maps, rings included, MiB", last.held.maps),
            format!("{:.1}", mebibytes(last.held.map_bytes / 1024)),
        ),
    ];
    text.extend([format!(
        "\n{COMING} processes come one after the other and make AI calls; then {PROBED} stay. The kernel maps the pages of a ring \
         twice in a row, so that a record never wraps: with the default ring of 16 MiB that is the larger part of the \
         resident memory, and the pages themselves are kernel memory, counted once in the last row.\n\n| what | |\n|---|---:|\n"
    )]);
    for (what, figure) in rows {
        text.extend([format!("| {what} | {figure} |\n")]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_processes_that_got_probes_are_read() {
        let log = "DEBUG probes set pid=1 probes=11 why=\"learned\" took_us=250\n\
            DEBUG probes set pid=2 probes=0 why=\"connect\" took_us=9\nother took_us=7\n";
        assert_eq!(attach_times(log), [250.0]);
    }

    #[test]
    fn slow_stop_misses_its_goal() {
        let life =
            |stop_ms| Life { stop_ms, ready_ms: 300.0, attach_us: vec![200.0], ..Life::default() };
        assert!(text(&[life(900.0), life(1100.0)]).contains("1100 ms at most, **missed**"));
        assert!(
            text(&[life(900.0)])
                .contains("| all probes of one process set, µs (1 processes) | 200 |")
        );
    }
}
