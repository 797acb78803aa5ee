//! A number of calls and a rate come in; whether all of them were seen, or counted as lost, goes out.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::calls::mebibytes;
use crate::bench::document::{Section, goal};
use crate::bench::process::memory;
use crate::bench::servers::{Load, Servers};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::step;

/// Heading of the section.
pub const TITLE: &str = "Nothing is lost, or it is counted";
/// The rate at which nothing may be lost.
const RATE: u32 = 2000;
/// A machine that makes fewer calls than this share of the rate has not shown it.
const RATE_MADE_MIN: f64 = 0.98;
/// Calls of the load without a rate.
const CALLS: u32 = 20_000;
/// Connections they go over.
const CONNECTIONS: u32 = 8;
/// Memory that the sensor may have resident, in MiB.
const MEMORY_MAX: f64 = 64.0;

/// What one load came to.
#[derive(Clone, Debug, Default)]
struct Outcome {
    wanted: u32,
    rate: f64,
    made: usize,
    seen: usize,
    lost: BTreeMap<String, u64>,
    memory: f64,
}

/// Runs both loads and writes the section.
pub fn measure(bench: &Bench<'_>, servers: &Servers<'_>) -> Result<Section> {
    let paced = RATE.saturating_mul(bench.effort.seconds);
    let calls = if bench.effort.is_quick { CALLS / 10 } else { CALLS };
    let mut outcomes = Vec::new();
    for (calls, rate) in [(paced, RATE), (calls, 0)] {
        let name = if rate == 0 { "as many as go".to_owned() } else { format!("{rate} a second") };
        outcomes
            .push(step(&format!("{calls} AI calls, {name}"), || one(bench, servers, calls, rate))?);
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&outcomes) })
}

fn one(bench: &Bench<'_>, servers: &Servers<'_>, calls: u32, rate: u32) -> Result<Outcome> {
    let watching = watch::start(Watcher::Tollgate, bench, Attach::Intent)?;
    let mut load = servers.load(Load { calls, rate, connections: CONNECTIONS })?;
    watching.settle();
    let base = watching.calls();
    load.go()?;
    let figures = load.finish()?;
    let made = usize::try_from(figures.calls)?;
    watching.wait_for_calls(base.saturating_add(made));
    let most = watching.id().map(memory).transpose()?.unwrap_or_default().most;
    let seen = watching.calls().saturating_sub(base);
    // Losses are told once a second, and once more at the end.
    let told = watching.told();
    watching.stop()?;
    let lost = watch::losses(&std::fs::read_to_string(told)?);
    Ok(Outcome { wanted: rate, rate: figures.rate, made, seen, lost, memory: mebibytes(most) })
}

impl Outcome {
    fn records(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Every call was seen, or at least as many records are counted as lost.
    fn is_accounted(&self) -> bool {
        let missing = self.made.saturating_sub(self.seen);
        self.seen <= self.made
            && u64::try_from(missing).is_ok_and(|missing| missing <= self.records())
    }

    fn goal(&self) -> String {
        let memory = format!("{:.1} MiB resident at most", self.memory);
        let figure = format!(
            "{} of {} seen, {} records lost, {memory}",
            self.seen,
            self.made,
            self.records()
        );
        let is_small = self.memory < MEMORY_MAX;
        if self.wanted == 0 {
            let held = self.is_accounted() && is_small;
            return goal(
                "as fast as the machine makes calls, seen + counted as lost = made, under 64 MiB",
                &figure,
                held,
            );
        }
        let is_made = self.rate >= f64::from(self.wanted) * RATE_MADE_MIN;
        let held = self.seen == self.made && self.records() == 0 && is_small && is_made;
        goal(
            &format!("nothing lost at {} calls a second, under 64 MiB", self.wanted),
            &figure,
            held,
        )
    }
}

fn text(outcomes: &[Outcome]) -> String {
    let mut text: String = outcomes.iter().map(Outcome::goal).collect();
    text.push_str(
        "\nStreamed calls with requests of 4 KiB and answers of 50 chunks over 8 keep-alive connections, the default buffer \
         size; client, server and sensor share the processors. A rate of its own stands beside the one asked for where the \
         machine does not make it.\n\n| asked, calls/s | made, calls/s | made | seen | records lost, by reason |\n|---|---:|---:|---:|---|\n",
    );
    for outcome in outcomes {
        let asked = if outcome.wanted == 0 {
            "as many as go".to_owned()
        } else {
            outcome.wanted.to_string()
        };
        let lost: Vec<_> =
            outcome.lost.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
        let lost = if lost.is_empty() { "0".to_owned() } else { lost.join(", ") };
        text.extend([format!(
            "| {asked} | {:.0} | {} | {} | {lost} |\n",
            outcome.rate, outcome.made, outcome.seen
        )]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(wanted: u32, seen: usize, lost: u64) -> Outcome {
        let reasons = if lost == 0 {
            BTreeMap::new()
        } else {
            BTreeMap::from([("payload_no_room".to_owned(), lost)])
        };
        Outcome { wanted, rate: 1999.0, made: 100, seen, lost: reasons, memory: 40.0 }
    }

    #[test]
    fn missing_call_without_a_lost_record_is_not_accounted_for() {
        assert!(outcome(0, 100, 0).is_accounted() && outcome(0, 90, 10).is_accounted());
        assert!(!outcome(0, 90, 9).is_accounted() && !outcome(0, 101, 0).is_accounted());
    }

    #[test]
    fn paced_load_must_be_made_and_seen_whole() {
        assert!(outcome(2000, 100, 0).goal().contains("**held**"));
        assert!(outcome(2000, 99, 1).goal().contains("**missed**"));
        assert!(outcome(4000, 100, 0).goal().contains("**missed**"), "the rate was not reached");
        let text = text(&[outcome(2000, 99, 7)]);
        assert!(text.contains("| 2000 | 1999 | 100 | 99 | payload_no_room: 7 |"), "{text}");
    }
}
