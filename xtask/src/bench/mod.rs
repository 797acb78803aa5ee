//! Options come in; decoders and the whole sensor are measured beside what they compete with, and BENCHMARKS.md goes out.

mod calls;
mod connect;
mod decode;
mod document;
mod enforced;
mod life;
mod loss;
mod machine;
mod net;
mod pairs;
mod policy;
mod process;
mod runs;
mod server;
mod servers;
mod soak;
mod statistics;
mod watch;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::build::{self, Profile};
use crate::setup::{self, BENCH, Missing, TEST, Tools};
use crate::shell::{output, print, root, say, target};

use self::document::Section;
use self::net::Net;
use self::servers::Servers;
use self::watch::Programs;

/// Measures the decoders and the whole sensor.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Only these parts; all but `soak` and `runs` where none is named. Their sections of BENCHMARKS.md are replaced.
    parts: Vec<Part>,
    /// A smoke run: every part once and short; nothing is written.
    #[arg(long)]
    quick: bool,
    /// Rounds of each way to watch, in turn; medians are taken over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each load.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Minutes of the soak.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Runs of each client, each way: a thousand, where nothing is said.
    #[arg(long, value_parser = clap::value_parser!(u32).range(4..))]
    runs: Option<u32>,
    /// Print what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// What can be measured alone, in the order of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests of a saturated TLS server that has nothing to do with AI.
    Server,
    /// What AI calls cost their client and the sensor.
    Calls,
    /// Whether calls are lost under load.
    Loss,
    /// Time of TLS calls by size.
    Pairs,
    /// Connections and packets of others.
    Connect,
    /// Connections where something is enforced.
    Enforced,
    /// Start, probes, stop, memory.
    Life,
    /// Decoders; needs no privilege.
    Decode,
    /// Decisions by policies; needs no privilege.
    Policy,
    /// Whole clients with and without the sensor; the lab's clients are installed for it.
    Runs,
    /// Whether the sensor grows over many minutes.
    Soak,
}

impl Part {
    const fn title(self) -> &'static str {
        match self {
            Self::Server => server::TITLE,
            Self::Calls => calls::TITLE,
            Self::Loss => loss::TITLE,
            Self::Pairs => pairs::TITLE,
            Self::Connect => connect::TITLE,
            Self::Enforced => enforced::TITLE,
            Self::Life => life::TITLE,
            Self::Decode => decode::TITLE,
            Self::Policy => policy::TITLE,
            Self::Runs => runs::TITLE,
            Self::Soak => soak::TITLE,
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of each way to watch.
    pub rounds: u32,
    /// Seconds of each load.
    pub seconds: u32,
    /// Whether this only shows that everything runs.
    pub is_quick: bool,
}

impl Effort {
    /// Options of a benchmark with statistics.
    fn sampling(self) -> &'static [&'static str] {
        const QUICK: &[&str] =
            &["--warm-up-time", "0.1", "--measurement-time", "0.1", "--sample-size", "10"];
        if self.is_quick { QUICK } else { &[] }
    }
}

/// What the measurements of the whole sensor share.
pub struct Bench<'a> {
    /// Namespace and folder of this run.
    pub net: &'a Net,
    /// What is measured and measures.
    pub programs: &'a Programs,
    /// How much is measured.
    pub effort: Effort,
}

/// Measures, prints the sections and writes them into BENCHMARKS.md.
pub fn run(arguments: &[String]) -> Result<()> {
    let name = std::iter::once("cargo xtask bench".to_owned());
    let options = Options::try_parse_from(name.chain(arguments.iter().cloned()))?;
    let mut parts = options.parts.clone();
    if parts.is_empty() {
        let is_long = |part: &Part| matches!(part, Part::Soak | Part::Runs);
        parts = Part::value_variants().iter().filter(|part| !is_long(part)).copied().collect();
    }
    let is_root = rustix::process::geteuid().is_root();
    let is_system = parts.iter().any(|part| !matches!(part, Part::Decode | Part::Policy));
    ensure!(
        is_root || !is_system,
        "only decoders and policies are measured without root: `cargo xtask bench decode policy`"
    );
    let missing = if options.no_install { Missing::Tell } else { Missing::Install };
    let tools = setup::tools(if is_system { BENCH } else { &[] }, missing)?;
    if parts.contains(&Part::Runs) {
        setup::tools(TEST, missing)?;
    }
    let load = machine::load();
    let mut sections = if is_system { system(&tools, &options, &parts)? } else { Vec::new() };
    if parts.contains(&Part::Decode) {
        sections.push(decode::measure(&tools, options.effort())?);
    }
    if parts.contains(&Part::Policy) {
        sections.push(policy::measure(&tools, options.effort())?);
    }
    let effort = options.effort();
    for section in &mut sections {
        let (rounds, seconds) = (effort.rounds, effort.seconds);
        section.text.extend([format!(
            "\nLoad of the machine before the run: {load}. Rounds: {rounds}; seconds of a load: {seconds}.\n"
        )]);
    }
    let machine = document::machine(&machine::describe());
    let titles: Vec<_> = Part::value_variants().iter().map(|part| part.title()).collect();
    print(&document::merge("", &machine, &titles, &sections));
    let file = root()?.join("BENCHMARKS.md");
    if options.quick {
        say("a smoke run: nothing is written");
        return Ok(());
    }
    let old = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, document::merge(&old, &machine, &titles, &sections))
        .with_context(|| format!("writing {}", file.display()))?;
    say(&format!("written to {}", file.display()));
    Ok(())
}

impl Options {
    fn effort(&self) -> Effort {
        let (rounds, seconds) = if self.quick { (1, 1) } else { (self.rounds, self.seconds) };
        Effort { rounds, seconds, is_quick: self.quick }
    }
}

/// Measures those parts that run the whole sensor.
fn system(tools: &Tools, options: &Options, parts: &[Part]) -> Result<Vec<Section>> {
    let programs = programs(tools)?;
    let net = Net::up()?;
    let bench = Bench { net: &net, programs: &programs, effort: options.effort() };
    let servers = Servers::start(&net, &programs)?;
    let minutes = if options.quick { 1 } else { options.minutes };
    let mut sections = Vec::new();
    for part in Part::value_variants().iter().filter(|part| parts.contains(part)) {
        sections.push(match part {
            Part::Server => server::measure(&bench, &servers)?,
            Part::Calls => calls::measure(&bench, &servers)?,
            Part::Loss => loss::measure(&bench, &servers)?,
            Part::Pairs => pairs::measure(&bench)?,
            Part::Connect => connect::measure(&bench)?,
            Part::Enforced => enforced::measure(&bench)?,
            Part::Life => life::measure(&bench, &servers)?,
            Part::Soak => soak::measure(&bench, &servers, minutes)?,
            Part::Runs => runs::measure(&programs.tollgate, options.runs, options.effort())?,
            Part::Decode | Part::Policy => continue,
        });
    }
    Ok(sections)
}

fn programs(tools: &Tools) -> Result<Programs> {
    let folder = target()?.join("bench");
    fs::create_dir_all(&folder).context("making the folder of the benchmark's programs")?;
    let compiled = |name: &str, source: &str| -> Result<PathBuf> {
        let (file, program) = (folder.join(name).with_extension("c"), folder.join(name));
        fs::write(&file, source).with_context(|| format!("writing {}", file.display()))?;
        servers::compile(&file, &program)?;
        Ok(program)
    };
    let source = root()?.join("tests/clients/load.c");
    let load =
        fs::read_to_string(&source).with_context(|| format!("reading {}", source.display()))?;
    let (load, pair) = (compiled("load", &load)?, compiled("pair", pairs::SOURCE)?);
    let connect = compiled("connect", connect::SOURCE)?;
    let enforced = compiled("enforced", enforced::SOURCE)?;
    let tollgate = build::all(tools, Profile::Release)?;
    let lab = build::program("tollgate-tests", "lab", Profile::Release)?;
    let linked = output(Command::new("ldd").arg(&pair))?;
    let libssl = library(&linked).context("the benchmark's programs use no libssl")?;
    Ok(Programs { tollgate, lab, load, pair, connect, enforced, libssl })
}

/// The path behind `libssl.so.3 => …`.
fn library(linked: &str) -> Option<PathBuf> {
    let line = linked.lines().find(|line| line.trim_start().starts_with("libssl"))?;
    line.split_whitespace().nth(2).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_is_found_among_those_linked() {
        let linked = "\tlinux-vdso.so.1 (0x1)\n\tlibssl.so.3 => /lib/libssl.so.3 (0x2)\n";
        assert_eq!(library(linked), Some(PathBuf::from("/lib/libssl.so.3")));
        assert_eq!(library("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
    }

    #[test]
    fn parts_are_named_and_a_smoke_run_is_short() {
        let options = Options::try_parse_from(["bench", "soak", "server", "--quick"]).unwrap();
        assert_eq!(options.parts, [Part::Soak, Part::Server]);
        assert_eq!((options.effort().rounds, options.effort().seconds), (1, 1));
        assert!(Options::try_parse_from(["bench", "nonsense"]).is_err());
        assert_eq!(Options::try_parse_from(["bench"]).unwrap().effort().rounds, 5);
    }

    #[test]
    fn every_part_has_its_own_heading() {
        let mut titles: Vec<_> = Part::value_variants().iter().map(|part| part.title()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Part::value_variants().len());
    }
}
