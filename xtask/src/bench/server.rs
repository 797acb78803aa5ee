//! Rounds come in; how many requests a saturated TLS server that has nothing to do with AI answers goes out, by watcher.

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;
use crate::bench::document::{Section, goal};
use crate::bench::process::processor_seconds;
use crate::bench::servers::{Load, PORT, Servers};
use crate::bench::statistics::{all, median, spread};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::{output, say, step};

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

/// Measures in rounds and writes the section.
pub fn measure(bench: &Bench<'_>, servers: &Servers<'_>) -> Result<Section> {
    let mut rounds: [Vec<Round>; 3] = Default::default();
    let mut noise = Vec::new();
    for round in 1..=bench.effort.rounds {
        step(&format!("a saturated TLS server, round {round} of {}", bench.effort.rounds), || {
            // Each stands as often before the other as behind it, so that a drift of the machine favours nobody.
            let turn = |watcher: Watcher| {
                let figures = one(bench, servers, watcher)?;
                let (name, requests, server_us) =
                    (watcher.name(), figures.requests, figures.server_us);
                say(&format!("{name}: {requests:.0} requests/s, server {server_us:.2} µs/request"));
                anyhow::Ok(figures)
            };
            let (first, second) = (turn(Watcher::Nobody)?, turn(Watcher::Tollgate)?);
            let (third, fourth) = (turn(Watcher::Tollgate)?, turn(Watcher::Nobody)?);
            let [bare, ours, script] = &mut rounds;
            bare.push(first.with(fourth));
            ours.push(second.with(third));
            script.push(turn(Watcher::Bpftrace)?);
            noise.push((fourth.requests / first.requests - 1.0).abs() * 100.0);
            Ok(())
        })?;
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&rounds, median(&noise)) })
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

/// The share of requests that is kept, and the share of the server's time for one, each beside the same round with nobody
/// watching.
fn shares(bare: &[Round], watched: &[Round]) -> (Vec<f64>, Vec<f64>) {
    let pairs = || bare.iter().zip(watched);
    (
        pairs().map(|(bare, round)| round.requests / bare.requests * 100.0).collect(),
        pairs().map(|(bare, round)| round.server_us / bare.server_us * 100.0).collect(),
    )
}

fn text(rounds: &[Vec<Round>; 3], noise: f64) -> String {
    let [bare, ours, _] = rounds;
    let (kept, _) = shares(bare, ours);
    let lost = 100.0 - median(&kept);
    let mut text = goal(
        "within 3 % of the requests with nobody watching",
        &format!("{lost:.1} % lost"),
        lost <= LOST_MAX * 100.0,
    );
    text.extend([format!(
        "\nnginx and wrk, both on libssl, on two processors and in a network namespace, while another process makes 20 AI \
         calls a second. The bpftrace script does the least that a tracer of all TLS calls does: it notes the buffer at \
         the entry and adds up bytes at the return. A round is: nobody, Tollgate, Tollgate, nobody, the script; the two of a \
         kind count as their mean. The two turns of a round with nobody watching differ by {noise:.1} % at the median: \
         smaller differences than that say nothing.\n\n\
         | watched by | requests/s | kept, % | server CPU µs/request | of that with nobody, % | watcher's CPU, % | AI calls made | seen |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n"
    )]);
    for (watcher, rounds) in Watcher::ALL.iter().zip(rounds) {
        let (kept, server) = shares(bare, rounds);
        let made: usize = rounds.iter().map(|round| round.calls_made).sum();
        let seen: usize = rounds.iter().map(|round| round.calls_seen).sum();
        let cells = [
            watcher.name().to_owned(),
            spread(&all(rounds, |round| round.requests), 0),
            spread(&kept, 1),
            spread(&all(rounds, |round| round.server_us), 2),
            spread(&server, 1),
            format!("{:.1}", median(&all(rounds, |round| round.watcher_share)) * 100.0),
            made.to_string(),
            if *watcher == Watcher::Tollgate { seen.to_string() } else { "—".to_owned() },
        ];
        text.extend([format!("| {} |\n", cells.join(" | "))]);
    }
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
        let rounds = [
            [100.0, 200.0, 100.0].map(round).to_vec(),
            [90.0, 200.0, 99.0].map(round).to_vec(),
            [50.0, 50.0, 50.0].map(round).to_vec(),
        ];
        let text = text(&rounds, 1.25);
        assert!(text.contains("differ by 1.2 %"), "{text}");
        assert!(text.contains("1.0 % lost, **held**"), "{text}");
        assert!(text.contains("| Tollgate | 99 (90 to 200) | 99.0 (90.0 to 100.0) |"), "{text}");
        assert!(
            text.contains("| bpftrace script | 50 (50 to 50) | 50.0 (25.0 to 50.0) |"),
            "{text}"
        );
    }
}
