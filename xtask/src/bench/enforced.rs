//! Rounds come in; what a connect takes with nobody watching, with the sensor, and with a sensor that enforces goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::document::Section;
use crate::bench::net::Net;
use crate::bench::statistics::{median, spread};
use crate::bench::watch::{self, Attach, Watcher};
use crate::shell::{output, step};

/// Heading of the section.
pub const TITLE: &str = "Connections where something is enforced";
/// The program that makes them.
pub const SOURCE: &str = include_str!("enforced.c");
/// Kinds of connections, as the program calls them, and what they are.
const KINDS: [(&str, &str); 3] = [
    ("other", "to an address that has nothing to do with AI"),
    ("allowed", "to a provider that is allowed"),
    ("denied", "to a provider that is denied"),
];
/// Ways to watch.
const WAYS: [(Watcher, Attach); 3] = [
    (Watcher::Nobody, Attach::Intent),
    (Watcher::Tollgate, Attach::Intent),
    (Watcher::Tollgate, Attach::Enforcing),
];
/// Connections of each kind in a round.
const CONNECTIONS: u32 = 5_000;
/// The same in a smoke run.
const CONNECTIONS_QUICK: u32 = 200;

/// Nanoseconds in the order of `KINDS`.
type Times = [f64; 3];

/// A cgroup that is enforced, and where the gate is pinned; both go with the value.
struct Place {
    cgroup: PathBuf,
    pins: PathBuf,
}

impl Place {
    fn make(net: &Net) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
        });
        let root = root.context("no cgroup v2 is mounted")?;
        let place =
            Self { cgroup: root.join(net.name()), pins: Path::new("/sys/fs/bpf").join(net.name()) };
        fs::create_dir(&place.cgroup).context("making a cgroup")?;
        let orders = net.file("orders.toml");
        let text = format!(
            "[[subject]]\nname = \"bench\"\ncgroups = [\"{}\"]\ndeny = [\"groq\"]\n[[dedicated]]\nprovider = \"openai\"\naddresses = [\"127.0.0.22\"]\n[[dedicated]]\nprovider = \"groq\"\naddresses = [\"127.0.0.23\"]\n",
            place.cgroup.display()
        );
        fs::write(&orders, text).context("writing the orders")?;
        let text = format!(
            "[enforce]\nenabled = true\npins = \"{}\"\norders = \"{}\"\n",
            place.pins.display(),
            orders.display()
        );
        fs::write(net.file(watch::ENFORCING), text).context("writing a configuration")?;
        Ok(place)
    }

    /// A command within the namespace and the cgroup.
    fn command(&self, net: &Net, program: &Path) -> Command {
        let bare = net.command(program);
        let mut command = Command::new("sh");
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.cgroup.display());
        command.args(["-c", &enter, "sh"]).arg(bare.get_program()).args(bare.get_args());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What was never pinned, or a cgroup that something has entered, cannot be taken away.
        let _unpinned = fs::remove_dir_all(&self.pins);
        let _removed = fs::remove_dir(&self.cgroup);
    }
}

/// Measures in rounds and writes the section.
pub fn measure(bench: &Bench<'_>) -> Result<Section> {
    let mut rounds: [Vec<Times>; 3] = Default::default();
    let place = Place::make(bench.net)?;
    let count = if bench.effort.is_quick { CONNECTIONS_QUICK } else { CONNECTIONS };
    step("connections where something is enforced", || {
        for _ in 0..bench.effort.rounds {
            for (way, told) in WAYS.iter().zip(&mut rounds) {
                told.push(one(bench, &place, *way, count)?);
            }
        }
        Ok(())
    })?;
    Ok(Section { title: TITLE.to_owned(), text: text(&rounds) })
}

/// Connects as often as `count` says under one way to watch.
fn one(bench: &Bench<'_>, place: &Place, way: (Watcher, Attach), count: u32) -> Result<Times> {
    let (watcher, attach) = way;
    let watching = watch::start(watcher, bench, attach)?;
    let mut program = place.command(bench.net, &bench.programs.enforced);
    let text = output(program.arg(count.to_string()))?;
    watching.stop()?;
    // The gate outlives its sensor.
    let _unpinned = fs::remove_dir_all(&place.pins);
    times(&text, if attach == Attach::Enforcing { count } else { 0 })
}

/// Reads the program's words; so many connections to the denied provider have to be refused, and no other.
fn times(told: &str, refused: u32) -> Result<Times> {
    let mut times = Times::default();
    for ((kind, _), (line, time)) in KINDS.iter().zip(told.lines().zip(&mut times)) {
        let line: Value = serde_json::from_str(line).context("reading a measurement")?;
        let of = |name: &str| line.get(name).with_context(|| format!("a measurement has {name}"));
        ensure!(of("kind")?.as_str() == Some(kind), "{kind} is expected: {line}");
        let wanted = if *kind == "denied" { refused } else { 0 };
        ensure!(of("refused")?.as_u64() == Some(u64::from(wanted)), "{wanted} refused: {line}");
        *time = of("median_ns")?.as_f64().context("a median is a number")?;
    }
    Ok(times)
}

fn text(rounds: &[Vec<Times>; 3]) -> String {
    let mut text = "A connect over the loopback, as long as the call takes; the three kinds take turns. The sensor that enforces \
        refuses a provider by its address. In brackets the time divided by that of the same round with nobody watching, at the \
        median.\n\n| connect | nobody, ns | Tollgate, nothing enforced | Tollgate, enforcing |\n|---|---:|---:|---:|\n"
        .to_owned();
    let [bare, observing, enforcing] = rounds;
    for (index, (_, what)) in KINDS.iter().enumerate() {
        let of = |rounds: &[Times]| -> Vec<f64> {
            rounds.iter().filter_map(|times| times.get(index).copied()).collect()
        };
        let nobody = of(bare);
        let cell = |rounds: &[Times]| {
            let times = of(rounds);
            let ratios: Vec<_> =
                times.iter().zip(&nobody).map(|(time, bare)| time / bare).collect();
            format!("{:.0} ({:.2})", median(&times), median(&ratios))
        };
        let cells = [spread(&nobody, 0), cell(observing), cell(enforcing)];
        text.extend([format!("| {what} | {} |\n", cells.join(" | "))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_program_are_read_and_a_wrong_refusal_is_an_error() {
        let line = |kind: &str, refused: u32| {
            format!("{{\"kind\":\"{kind}\",\"median_ns\":100,\"refused\":{refused}}}\n")
        };
        let told = |allowed, denied| {
            line("other", 0) + &line("allowed", allowed) + &line("denied", denied)
        };
        assert!(times(&told(0, 5), 5).is_ok());
        assert!(times(&told(0, 5), 0).is_err());
        assert!(times(&told(1, 5), 5).is_err());
        assert!(times(&told(0, 4), 5).is_err());
    }

    #[test]
    fn ratio_is_that_of_the_same_round() {
        let text = text(&[
            vec![[100.0, 100.0, 100.0], [200.0, 200.0, 200.0]],
            vec![[110.0, 110.0, 110.0], [220.0, 220.0, 220.0]],
            vec![[120.0, 130.0, 50.0], [240.0, 260.0, 100.0]],
        ]);
        assert!(
            text.contains(
                "| to a provider that is denied | 150 (100 to 200) | 165 (1.10) | 75 (0.50) |"
            ),
            "{text}"
        );
    }
}
