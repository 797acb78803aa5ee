//! Rounds come in; how many requests a saturated TLS server that has nothing to do with AI answers goes out, by watcher.

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;
use crate::bench::document::{Section, goal};
use crate::bench::process::processor_seconds;
use crate::bench::servers::{Load, PORT, Servers};
use crate::bench::statistics::median;
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::{output, step};

/// Heading of the section.
pub const TITLE: &str = "A saturated TLS server that has nothing to do with AI";
/// Connections that saturate it.
const CONNECTIONS: u32 = 32;
/// AI calls a second beside it.
const CALLS_A_SECOND: u32 = 20;
/// Requests that may be lost, as a share.
const LOST_MAX: f64 = 0.03;

/// What one round came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Requests a second.
    requests: f64,
    /// Processor time of the server for a request, in microseconds: what else runs on the machine disturbs it less.
    server_us: f64,
    /// Share of a processor that the watcher used.
    watcher_share: f64,
    calls_made: usize,
    calls_seen: usize,
}

/// A round with a watcher, and the one with nobody watching that it is compared with.
#[derive(Clone, Copy, Debug)]
struct Pair {
    bare: Round,
    watched: Round,
}

/// Measures in rounds and writes the section.
pub fn measure(bench: &Bench<'_>, servers: &Servers<'_>) -> Result<Section> {
    let (mut ours, mut scripts, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.effort.rounds {
        step(&format!("a saturated TLS server, round {round} of {}", bench.effort.rounds), || {
            let turn = |watcher| one(bench, servers, watcher);
            // Each stands as often before the other as behind it, so that a drift of the machine favours nobody.
            let first = turn(Watcher::Nobody)?;
            let watched = turn(Watcher::Tollgate)?.with(turn(Watcher::Tollgate)?);
            let last = turn(Watcher::Nobody)?;
            noise.push((last.requests / first.requests - 1.0).abs() * 100.0);
            let bare = first.with(last);
            ours.push(Pair { bare, watched });
            scripts.push(Pair { bare, watched: turn(Watcher::Bpftrace)? });
            Ok(())
        })?;
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&ours, &scripts, median(&noise)) })
}

impl Round {
    /// Two turns as one.
    fn with(self, other: Self) -> Self {
        let mean = |of: fn(&Self) -> f64| f64::midpoint(of(&self), of(&other));
        Self {
            requests: mean(|round| round.requests),
            server_us: mean(|round| round.server_us),
            watcher_share: mean(|round| round.watcher_share),
            calls_made: self.calls_made.saturating_add(other.calls_made),
            calls_seen: self.calls_seen.saturating_add(other.calls_seen),
        }
    }
}

/// Saturates nginx while a few AI calls are made.
fn one(bench: &Bench<'_>, servers: &Servers<'_>, watcher: Watcher) -> Result<Round> {
    let seconds = bench.effort.seconds;
    let watching = watch::start(watcher, bench, Attach::Intent)?;
    let calls = CALLS_A_SECOND.saturating_mul(seconds);
    let mut load = servers.load(Load { calls, rate: CALLS_A_SECOND, connections: 2 })?;
    watching.settle();
    let base = watching.calls();
    load.go()?;
    let mut wrk = bench.net.command("wrk");
    wrk.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--timeout", "10s"]);
    let worker = servers.worker()?;
    let used = |id: Option<u32>| id.map_or(Ok(0.0), processor_seconds);
    let before = (processor_seconds(worker)?, used(watching.id())?);
    let told = output(wrk.arg(format!("https://127.0.0.1:{PORT}/")))?;
    let after = (processor_seconds(worker)?, used(watching.id())?);
    let requests =
        requests_a_second(&told).with_context(|| format!("reading the words of wrk: {told}"))?;
    ensure!(requests > 0.0, "wrk made no request: {told}");
    let seconds = f64::from(seconds);
    let figures = load.finish()?;
    let made = usize::try_from(figures.calls)?;
    watching.wait_for_calls(base.saturating_add(made));
    let calls_seen = watching.calls().saturating_sub(base);
    watching.stop()?;
    Ok(Round {
        requests,
        server_us: (after.0 - before.0) * 1e6 / (requests * seconds),
        watcher_share: (after.1 - before.1) / seconds,
        calls_made: made,
        calls_seen,
    })
}

/// Reads wrk's figure; `None` where requests have failed.
fn requests_a_second(told: &str) -> Option<f64> {
    let failed = ["Non-2xx", "Socket errors"].iter().any(|word| told.contains(word));
    let number = told.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    number.trim().parse().ok().filter(|_| !failed)
}

/// The middle of figures, with the quarters below and above it.
fn middle(figures: &[f64], digits: usize) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let place = sorted.len().saturating_sub(1).saturating_mul(quarter) / 4;
        sorted.get(place).copied().unwrap_or_default()
    };
    format!("{:.digits$} ({:.digits$} to {:.digits$})", median(figures), at(1), at(3))
}

fn row(name: &str, pairs: &[Pair], of: fn(&Pair) -> Round, seen: bool) -> String {
    let all = |figure: fn(Round) -> f64| -> Vec<f64> {
        pairs.iter().map(|pair| figure(of(pair))).collect()
    };
    let share = |figure: fn(Round) -> f64| -> Vec<f64> {
        pairs.iter().map(|pair| figure(of(pair)) / figure(pair.bare) * 100.0).collect()
    };
    let sum =
        |count: fn(Round) -> usize| -> usize { pairs.iter().map(|pair| count(of(pair))).sum() };
    let cells = [
        name.to_owned(),
        middle(&all(|round| round.requests), 0),
        middle(&share(|round| round.requests), 1),
        middle(&all(|round| round.server_us), 2),
        middle(&share(|round| round.server_us), 1),
        format!("{:.1}", median(&all(|round| round.watcher_share)) * 100.0),
        sum(|round| round.calls_made).to_string(),
        if seen { sum(|round| round.calls_seen).to_string() } else { "—".to_owned() },
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn text(ours: &[Pair], scripts: &[Pair], noise: f64) -> String {
    let kept: Vec<_> =
        ours.iter().map(|pair| pair.watched.requests / pair.bare.requests * 100.0).collect();
    let lost = 100.0 - median(&kept);
    let limit = LOST_MAX * 100.0;
    let wanted = "within 3 % of the requests with nobody watching";
    let mut text = if noise > limit {
        format!(
            "- Goal: {wanted}. Here: {lost:.1} % lost, **undecided**: the machine was too restless.\n"
        )
    } else {
        goal(wanted, &format!("{lost:.1} % lost"), lost <= limit)
    };
    text.extend([format!(
        "\nnginx and wrk, both on libssl, on two processors and in a network namespace, while another process makes 20 AI \
         calls a second. The bpftrace script does the least that a tracer of all TLS calls does: it notes the buffer at \
         the entry and adds up bytes at the return. A round is nobody, Tollgate, Tollgate, nobody, the \
         script; the two of a kind count as their mean. Medians, in brackets the quarters below and above. The two turns \
         of a round with nobody watching differ by {noise:.1} % at the median: that is how quiet the machine was.\n\n\
         | watched by | requests/s | kept, % | server CPU µs/request | of that with nobody, % | watcher's CPU, % | AI calls made | seen |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n"
    )]);
    text.push_str(&row(Watcher::Nobody.name(), ours, |pair| pair.bare, false));
    text.push_str(&row(Watcher::Tollgate.name(), ours, |pair| pair.watched, true));
    text.push_str(&row(Watcher::Bpftrace.name(), scripts, |pair| pair.watched, false));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(requests: f64) -> Round {
        Round { requests, server_us: 5.5, watcher_share: 0.01, calls_made: 20, calls_seen: 20 }
    }

    #[test]
    fn words_of_wrk_are_read_and_failures_are_not_taken_for_speed() {
        let good = "  123 requests in 1.00s\nRequests/sec:  12345.67\nTransfer/sec: 1MB\n";
        assert!(requests_a_second(good).is_some_and(|speed| (speed - 12_345.67).abs() < 1e-6));
        assert_eq!(requests_a_second(&format!("  Socket errors: read 3\n{good}")), None);
        assert_eq!(requests_a_second("unable to connect"), None);
    }

    #[test]
    fn share_is_that_of_the_same_round() {
        let pair = |bare, watched| Pair { bare: round(bare), watched: round(watched) };
        let ours = [pair(100.0, 90.0), pair(200.0, 200.0), pair(100.0, 99.0)];
        let text = text(&ours, &[pair(100.0, 25.0)], 1.25);
        assert!(
            text.contains("differ by 1.2 %") && text.contains("1.0 % lost, **held**"),
            "{text}"
        );
        assert!(text.contains("| Tollgate | 99 (90 to 99) | 99.0 (90.0 to 99.0) |"), "{text}");
        assert!(
            text.contains("| bpftrace script | 25 (25 to 25) | 25.0 (25.0 to 25.0) |"),
            "{text}"
        );
    }
}
