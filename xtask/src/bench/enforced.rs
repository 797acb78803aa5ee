//! Rounds come in; what a connect takes with nobody watching, with the sensor, and with a sensor that enforces goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::document::{Section, goal};
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
/// Where the addresses lie.
const WAYS_OUT: [Out; 2] = [
    Out { what: "over the loopback", delay_us: 0, connections: 5_000, connections_quick: 200 },
    Out {
        what: "over a wire of half a millisecond there and back",
        delay_us: 250,
        connections: 2_000,
        connections_quick: 50,
    },
];
/// What a connection that has nothing to do with AI may take longer.
const LONGER_MAX: f64 = 1.05;

/// A way to the addresses.
struct Out {
    what: &'static str,
    /// How long a packet is on its way, in microseconds.
    delay_us: u32,
    /// Connections of each kind in a round.
    connections: u32,
    /// The same in a smoke run.
    connections_quick: u32,
}

/// Nanoseconds in the order of `KINDS`.
type Times = [f64; 3];
/// The rounds of each of `WAYS`.
type Rounds = [Vec<Times>; 3];

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
            "[[subject]]\nname = \"bench\"\ncgroups = [\"{}\"]\ndeny = [\"groq\"]\n[[dedicated]]\nprovider = \"openai\"\naddresses = [\"127.0.0.22\", \"10.99.0.22\"]\n[[dedicated]]\nprovider = \"groq\"\naddresses = [\"127.0.0.23\", \"10.99.0.23\"]\n",
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
    let mut rounds: [Rounds; 2] = Default::default();
    let place = Place::make(bench.net)?;
    step("connections where something is enforced", || {
        for _ in 0..bench.effort.rounds {
            round(bench, &place, &mut rounds)?;
        }
        Ok(())
    })?;
    Ok(Section { title: TITLE.to_owned(), text: text(&rounds) })
}

/// Connects once under each way to watch.
fn round(bench: &Bench<'_>, place: &Place, rounds: &mut [Rounds; 2]) -> Result<()> {
    for (at, way) in WAYS.iter().enumerate() {
        let told = one(bench, place, *way)?;
        for (rounds, times) in rounds.iter_mut().zip(told) {
            rounds.get_mut(at).context("a way has its place")?.push(times);
        }
    }
    Ok(())
}

/// Connects under one way to watch, each way out.
fn one(bench: &Bench<'_>, place: &Place, way: (Watcher, Attach)) -> Result<[Times; 2]> {
    let (watcher, attach) = way;
    let watching = watch::start(watcher, bench, attach)?;
    let mut told = <[Times; 2]>::default();
    for (out, told) in WAYS_OUT.iter().zip(&mut told) {
        let count = if bench.effort.is_quick { out.connections_quick } else { out.connections };
        let mut program = place.command(bench.net, &bench.programs.enforced);
        let text = output(program.args([count, out.delay_us].map(|number| number.to_string())))?;
        *told = times(&text, if attach == Attach::Enforcing { count } else { 0 })?;
    }
    watching.stop()?;
    // The gate outlives its sensor.
    let _unpinned = fs::remove_dir_all(&place.pins);
    Ok(told)
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

fn text(rounds: &[Rounds; 2]) -> String {
    let [near, far] = rounds;
    let (worst, wire) = (ratios(near, 2, 0), ratios(far, 2, 0));
    let figure = format!(
        "{:+.1} % where something is enforced, {:+.1} % where nothing is",
        percent(median(&wire)),
        percent(median(&ratios(far, 1, 0)))
    );
    let mut text = goal(
        "a connect that has nothing to do with AI takes less than 5 % longer over a wire",
        &figure,
        median(&wire) < LONGER_MAX,
    );
    text.extend([format!(
        "\nA connect, as long as the call takes; the three kinds take turns in blocks. The sensor that enforces refuses a provider \
         by its address. In brackets the time divided by that of the same round with nobody watching, at the median. Over the \
         loopback a connect is nothing but processor time of this machine, the far end's included, and what the sensor adds \
         shows most ({:+.0} %); over a wire it waits for the answer.\n",
        percent(median(&worst))
    )]);
    for (out, rounds) in WAYS_OUT.iter().zip(rounds) {
        text.extend([table(out.what, rounds)]);
    }
    text
}

fn percent(ratio: f64) -> f64 {
    (ratio - 1.0) * 100.0
}

/// How often as long each round of a way took as the same round with nobody watching.
fn ratios(rounds: &Rounds, way: usize, kind: usize) -> Vec<f64> {
    let of = |way: usize| rounds.get(way).into_iter().flatten().filter_map(|times| times.get(kind));
    of(way).zip(of(0)).map(|(time, bare)| time / bare).collect()
}

fn table(what: &str, rounds: &Rounds) -> String {
    let mut text = format!(
        "\n| connect {what} | nobody, ns | Tollgate, nothing enforced | Tollgate, enforcing |\n|---|---:|---:|---:|\n"
    );
    for (kind, (_, name)) in KINDS.iter().enumerate() {
        let of = |way: usize| -> Vec<f64> {
            let rounds = rounds.get(way).into_iter().flatten();
            rounds.filter_map(|times| times.get(kind).copied()).collect()
        };
        let cell =
            |way| format!("{:.0} ({:.2})", median(&of(way)), median(&ratios(rounds, way, kind)));
        let cells = [spread(&of(0), 0), cell(1), cell(2)];
        text.extend([format!("| {name} | {} |\n", cells.join(" | "))]);
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
        let rounds = || {
            [
                vec![[100.0, 100.0, 100.0], [200.0, 200.0, 200.0]],
                vec![[110.0, 110.0, 110.0], [220.0, 220.0, 220.0]],
                vec![[104.0, 130.0, 50.0], [208.0, 260.0, 100.0]],
            ]
        };
        let text = text(&[rounds(), rounds()]);
        let row = "| to a provider that is denied | 150 (100 to 200) | 165 (1.10) | 75 (0.50) |";
        assert_eq!(text.matches(row).count(), 2, "{text}");
        assert!(text.contains("+4.0 % where something is enforced") && text.contains("**held**"));
    }
}
