//! Tools come in; servers, loads and watchers run in turn, and what each costs goes out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::median;
use crate::bench::net::Net;
use crate::bench::pairs::{self, Pairs};
use crate::bench::traffic::{self, Cost, Round, Servers};
use crate::bench::watch::{Programs, Watcher};
use crate::build::{self, Profile};
use crate::setup::Tools;
use crate::shell::{output, root, say, step, target};

/// What was measured of the whole sensor; the watchers stand in the order of `Watcher::ALL`.
#[derive(Debug)]
pub struct System {
    /// The saturated server, by watcher and round.
    pub traffic: [Vec<Round>; 3],
    /// Pairs of TLS calls, by watcher and round.
    pub pairs: [Vec<Pairs>; 3],
    /// Loads of AI calls, by watcher and round.
    pub costs: [Vec<Cost>; 3],
}

/// Builds what is needed and measures in rounds, so that what else the machine does hits all watchers alike.
pub fn measure(tools: &Tools, rounds: u32, seconds: u32) -> Result<System> {
    let programs = programs(tools)?;
    let net = Net::up()?;
    let mut system = System {
        traffic: Default::default(),
        pairs: Default::default(),
        costs: Default::default(),
    };
    let mut clean = String::new();
    for round in 1..=rounds {
        step(&format!("pairs of TLS calls, round {round} of {rounds}"), || {
            Watcher::ALL.iter().zip(&mut system.pairs).try_for_each(|(watcher, told)| {
                told.push(pairs::measure(*watcher, &net, &programs, &mut clean)?);
                Ok(())
            })
        })?;
    }
    let servers = Servers::start(&net, &programs)?;
    for round in 1..=rounds {
        step(&format!("a saturated TLS server, round {round} of {rounds}"), || {
            Watcher::ALL.iter().zip(&mut system.traffic).try_for_each(|(watcher, told)| {
                let figures = servers.round(*watcher, seconds)?;
                say(&format!("{}: {:.0} requests/s", watcher.name(), figures.requests));
                told.push(figures);
                Ok(())
            })
        })?;
    }
    for round in 1..=rounds.min(3) {
        step(&format!("a load of AI calls, round {round}"), || {
            Watcher::ALL.iter().zip(&mut system.costs).try_for_each(|(watcher, told)| {
                told.push(servers.cost(*watcher)?);
                Ok(())
            })
        })?;
    }
    Ok(system)
}

impl System {
    /// Median of requests a second, and of the share that is kept beside the same round with nobody watching.
    pub fn kept(&self, watcher: usize) -> (f64, f64) {
        let [bare, ..] = &self.traffic;
        let rounds = self.traffic.get(watcher).map_or(&[][..], Vec::as_slice);
        let requests: Vec<_> = rounds.iter().map(|round| round.requests).collect();
        let shares: Vec<_> =
            bare.iter().zip(rounds).map(|(bare, round)| round.requests / bare.requests).collect();
        (median(&requests), median(&shares))
    }

    /// Median time of a pair, in nanoseconds.
    pub fn pair(&self, watcher: usize, size: u64, is_ai: bool) -> f64 {
        let rounds = self.pairs.get(watcher).map_or(&[][..], Vec::as_slice);
        let all = rounds.iter().flat_map(|round| &round.pairs);
        let times: Vec<_> = all
            .filter(|pair| pair.size == size && pair.is_ai == is_ai)
            .map(|pair| pair.nanoseconds)
            .collect();
        median(&times)
    }
}

fn programs(tools: &Tools) -> Result<Programs> {
    let folder = target()?.join("bench");
    fs::create_dir_all(&folder).context("making the folder of the benchmark's programs")?;
    let (load, pair) = (folder.join("load"), folder.join("pair"));
    traffic::compile_load(&root()?.join("tests/clients/load.c"), &load)?;
    pairs::compile(&pair)?;
    let tollgate = build::all(tools, Profile::Release)?;
    let lab = build::program("tollgate-tests", "lab", Profile::Release)?;
    let linked = output(Command::new("ldd").arg(&pair))?;
    let libssl = library(&linked).context("the benchmark's programs use no libssl")?;
    Ok(Programs { tollgate, lab, load, pair, libssl })
}

/// The path behind `libssl.so.3 => …`.
fn library(linked: &str) -> Option<PathBuf> {
    let line = linked.lines().find(|line| line.trim_start().starts_with("libssl"))?;
    line.split_whitespace().nth(2).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::pairs::Pair;

    #[test]
    fn library_is_found_among_those_linked() {
        let linked = "\tlinux-vdso.so.1 (0x1)\n\tlibssl.so.3 => /lib/libssl.so.3 (0x2)\n";
        assert_eq!(library(linked), Some(PathBuf::from("/lib/libssl.so.3")));
        assert_eq!(library("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
    }

    #[test]
    fn share_is_the_median_of_the_shares_of_each_round() {
        let round = |requests| Round { requests, server_us: 1.0, calls_made: 1, calls_seen: 1 };
        let rounds = |requests: [f64; 3]| requests.map(round).to_vec();
        let traffic = [
            rounds([100.0, 200.0, 100.0]),
            rounds([90.0, 200.0, 99.0]),
            rounds([50.0, 50.0, 50.0]),
        ];
        let pair = |nanoseconds| Pairs {
            pairs: vec![Pair { size: 64, is_ai: true, nanoseconds }],
            losses: 0,
        };
        let pairs = [vec![pair(1.0), pair(3.0)], Vec::new(), Vec::new()];
        let system = System { traffic, pairs, costs: Default::default() };
        assert!((system.kept(1).1 - 0.99).abs() < 1e-9 && (system.kept(2).0 - 50.0).abs() < 1e-9);
        assert!((system.pair(0, 64, true) - 2.0).abs() < 1e-9);
    }
}
