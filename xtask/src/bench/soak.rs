//! Minutes come in; AI calls are made all that time, and whether the sensor grew goes out.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::Bench;
use crate::bench::calls::mebibytes;
use crate::bench::document::{Section, goal};
use crate::bench::process::{held, memory, processor_seconds};
use crate::bench::servers::{Load, Servers};
use crate::bench::statistics::{all, median, most};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::{say, step};

/// Heading of the section.
pub const TITLE: &str = "Soak";
/// Calls a second.
const RATE: u32 = 200;
/// Connections of each process that makes them.
const CONNECTIONS: u32 = 8;
/// Seconds after which another process makes the calls: probes come and go.
const TURN_SECONDS: u32 = 15;
/// When the sensor is looked at, after a process has begun: it carries probes then.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// Memory that the sensor may have resident, in MiB.
const MEMORY_MAX: f64 = 64.0;
/// What the last minute may have more than the first, in MiB: less than a page table's worth of noise a minute.
const GROWN_MAX: f64 = 2.0;

/// A look at the sensor.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    seconds: f64,
    resident: f64,
    own: f64,
    descriptors: f64,
    links: f64,
    maps: f64,
}

/// A row of the table: what, and how it stands in a sample.
type Row = (&'static str, fn(&Sample) -> f64);

/// What the whole time came to.
#[derive(Clone, Debug, Default)]
struct Soak {
    samples: Vec<Sample>,
    made: usize,
    seen: usize,
    lost: u64,
    most: f64,
    cpu_ms: f64,
}

/// Makes calls for so many minutes and writes the section.
pub fn measure(bench: &Bench<'_>, servers: &Servers<'_>, minutes: u32) -> Result<Section> {
    let soak = step(&format!("{minutes} minutes of AI calls"), || run(bench, servers, minutes))?;
    Ok(Section { title: TITLE.to_owned(), text: text(&soak, minutes) })
}

fn run(bench: &Bench<'_>, servers: &Servers<'_>, minutes: u32) -> Result<Soak> {
    let watching = watch::start(Watcher::Tollgate, bench, Attach::Intent)?;
    let id = watching.id().context("the sensor runs")?;
    let mut soak = Soak::default();
    let (began, until) =
        (Instant::now(), Duration::from_secs(u64::from(minutes).saturating_mul(60)));
    let used = processor_seconds(id)?;
    while began.elapsed() < until {
        let calls = RATE.saturating_mul(TURN_SECONDS);
        let mut load = servers.load(Load { calls, rate: RATE, connections: CONNECTIONS })?;
        watching.settle();
        let base = watching.calls();
        load.go()?;
        sleep(LOOK_AFTER);
        let sample = look(id, began)?;
        say(&format!(
            "{:.0} s: {:.1} MiB resident, {:.0} links",
            sample.seconds, sample.resident, sample.links
        ));
        soak.samples.push(sample);
        let made = usize::try_from(load.finish()?.calls)?;
        watching.wait_for_calls(base.saturating_add(made));
        soak.made = soak.made.saturating_add(made);
        soak.seen = soak.seen.saturating_add(watching.calls().saturating_sub(base));
    }
    let calls = u32::try_from(soak.made).map_or(f64::MAX, f64::from);
    soak.cpu_ms = (processor_seconds(id)? - used) * 1e6 / calls;
    soak.most = mebibytes(memory(id)?.most);
    let told = watching.told();
    watching.stop()?;
    soak.lost = watch::losses(&std::fs::read_to_string(told)?).values().sum();
    Ok(soak)
}

fn look(id: u32, began: Instant) -> Result<Sample> {
    let (memory, held) = (memory(id)?, held(id)?);
    let number = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    Ok(Sample {
        seconds: began.elapsed().as_secs_f64(),
        resident: mebibytes(memory.resident),
        own: mebibytes(memory.own),
        descriptors: number(held.descriptors),
        links: number(held.links),
        maps: number(held.maps),
    })
}

fn text(soak: &Soak, minutes: u32) -> String {
    let end = soak.samples.last().map_or(0.0, |sample| sample.seconds);
    let of = |is_in: &dyn Fn(f64) -> bool| -> Vec<Sample> {
        soak.samples.iter().filter(|sample| is_in(sample.seconds)).copied().collect()
    };
    let (first, last) = (of(&|at| at <= 60.0), of(&|at| at > end - 60.0));
    let grown = median(&all(&last, |sample| sample.resident))
        - median(&all(&first, |sample| sample.resident));
    let mut text = goal(
        "memory flat and under 64 MiB throughout",
        &format!("{grown:+.1} MiB from the first minute to the last, {:.1} MiB at most", soak.most),
        grown < GROWN_MAX && soak.most < MEMORY_MAX,
    );
    let figure = format!("{} of {} seen, {} records lost", soak.seen, soak.made, soak.lost);
    text.push_str(&goal("no call missed", &figure, soak.seen == soak.made && soak.lost == 0));
    text.extend([format!(
        "\n{minutes} minutes of {RATE} streamed calls a second over {CONNECTIONS} connections; every {TURN_SECONDS} s another process makes \
         them, so that probes come and go. Looked at {} s after each has begun. The sensor used {:.0} ms of a processor for \
         1,000 calls.\n\n| | first minute | last minute | most |\n|---|---:|---:|---:|\n",
        LOOK_AFTER.as_secs(),
        soak.cpu_ms,
    )]);
    let rows: [Row; 5] = [
        ("resident memory, MiB", |sample| sample.resident),
        ("of that: its own", |sample| sample.own),
        ("open descriptors", |sample| sample.descriptors),
        ("links: probes and hooks", |sample| sample.links),
        ("maps", |sample| sample.maps),
    ];
    for (what, of) in rows {
        let digits = usize::from(what.contains("memory") || what.contains("own"));
        text.extend([format!(
            "| {what} | {:.digits$} | {:.digits$} | {:.digits$} |\n",
            median(&all(&first, of)),
            median(&all(&last, of)),
            most(&all(&soak.samples, of))
        )]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(last: f64) -> Soak {
        let sample =
            |seconds, resident| Sample { seconds, resident, links: 19.0, ..Sample::default() };
        let samples =
            vec![sample(5.0, 40.0), sample(40.0, 40.0), sample(300.0, 41.0), sample(590.0, last)];
        Soak { samples, made: 10, seen: 10, lost: 0, most: last, cpu_ms: 90.0 }
    }

    #[test]
    fn memory_that_grows_misses_its_goal() {
        let flat = text(&soak(40.5), 10);
        assert!(
            flat.contains("+0.5 MiB from the first minute to the last, 40.5 MiB at most, **held**"),
            "{flat}"
        );
        assert!(flat.contains("| resident memory, MiB | 40.0 | 40.5 | 41.0 |"), "{flat}");
        assert!(text(&soak(47.0), 10).contains("**missed**"));
    }
}
