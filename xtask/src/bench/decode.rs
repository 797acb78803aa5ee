//! The decoders' benchmarks are run; speeds beside a copy of the same bytes, and allocations, go out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::{least, median};
use crate::build;
use crate::setup::Tools;
use crate::shell::{cargo, output, root, step, target};

/// How fast one stage is.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Name of the stage.
    pub name: String,
    /// Bytes a second in the median sample.
    pub speed: f64,
    /// Bytes a second of the copy.
    pub copy_speed: f64,
    /// Time of the stage divided by that of the copy, each in its best sample.
    pub ratio: f64,
    /// Rounds a second times chunks in a round.
    pub chunks_a_second: f64,
    /// Allocations in a round whose buffers have grown.
    pub allocations: u64,
    /// Chunks in a round.
    pub chunks: u64,
    /// What a chunk is called.
    pub unit: String,
}

/// Samples of one benchmark, in nanoseconds for each iteration, and the bytes of one.
struct Samples {
    nanoseconds: Vec<f64>,
    bytes: f64,
}

/// Runs the benchmarks of `sensor-user`.
pub fn measure(tools: &Tools) -> Result<Vec<Decoded>> {
    build::kernel_half(tools)?;
    let results = target()?.join("bench/criterion");
    let mut bench = cargo();
    bench.args(["bench", "--package", "sensor-user", "--bench", "decode", "--", "--noplot"]);
    bench.env("CRITERION_HOME", &results).current_dir(root()?);
    let told = step("measuring the decoders", || output(&mut bench))?;
    told.lines().filter_map(allocations).map(|counted| read(&results, counted)).collect()
}

/// `allocations NAME COUNT in CHUNKS UNIT`.
fn allocations(line: &str) -> Option<(&str, u64, u64, &str)> {
    let mut words = line.strip_prefix("allocations ")?.split(' ');
    let (name, count) = (words.next()?, words.next()?.parse().ok()?);
    let chunks = words.nth(1)?.parse().ok()?;
    Some((name, count, chunks, words.next()?))
}

fn read(
    results: &Path,
    (name, allocations, chunks, unit): (&str, u64, u64, &str),
) -> Result<Decoded> {
    let stage = samples(&results.join(name).join("stage/new"))?;
    let copy = samples(&results.join(name).join("copy/new"))?;
    let rounds = 1e9 / median(&stage.nanoseconds);
    let chunks_a_round =
        u32::try_from(chunks).map(f64::from).context("a round has fewer chunks")?;
    Ok(Decoded {
        name: name.to_owned(),
        speed: stage.bytes * rounds,
        copy_speed: copy.bytes * 1e9 / median(&copy.nanoseconds),
        ratio: least(&stage.nanoseconds) / least(&copy.nanoseconds),
        chunks_a_second: chunks_a_round * rounds,
        allocations,
        chunks,
        unit: unit.to_owned(),
    })
}

fn samples(folder: &Path) -> Result<Samples> {
    let read = |name: &str| -> Result<Value> {
        let file = folder.join(name);
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
    };
    let (sample, facts) = (read("sample.json")?, read("benchmark.json")?);
    let numbers =
        |name: &str| sample.get(name).and_then(Value::as_array).context("a sample lacks numbers");
    let pairs = numbers("times")?.iter().zip(numbers("iters")?);
    let nanoseconds =
        pairs.filter_map(|(time, count)| Some(time.as_f64()? / count.as_f64()?)).collect();
    let bytes = facts
        .pointer("/throughput/Bytes")
        .and_then(Value::as_f64)
        .context("a benchmark counts bytes")?;
    Ok(Samples { nanoseconds, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_allocations_is_read() {
        assert_eq!(allocations("allocations sse 0 in 64 pieces"), Some(("sse", 0, 64, "pieces")));
        assert_eq!(allocations("sse/copy  time: 1"), None);
    }

    #[test]
    fn speed_is_the_median_and_the_ratio_that_of_the_best() {
        let folder = std::env::temp_dir().join(format!("xtask-decode-{}", std::process::id()));
        for (name, times) in [("stage", "[20.0, 40.0, 60.0]"), ("copy", "[10.0, 10.0, 10.0]")] {
            let here = folder.join("sse").join(name).join("new");
            fs::create_dir_all(&here).unwrap();
            let sample = format!("{{\"iters\":[1.0,1.0,1.0],\"times\":{times}}}");
            fs::write(here.join("sample.json"), sample).unwrap();
            fs::write(here.join("benchmark.json"), "{\"throughput\":{\"Bytes\":400}}").unwrap();
        }
        let decoded = read(&folder, ("sse", 0, 2, "pieces")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let told = format!(
            "{:.0} {:.0} {:.1} {:.0}",
            decoded.speed, decoded.copy_speed, decoded.ratio, decoded.chunks_a_second
        );
        assert_eq!(told, "10000000000 40000000000 2.0 50000000");
    }
}
