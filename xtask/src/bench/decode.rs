//! The decoders' benchmarks are run; speeds beside a copy of the same bytes, and allocations, go out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::Effort;
use crate::bench::document::{Section, goal};
use crate::bench::statistics::{least, median};
use crate::build;
use crate::setup::Tools;
use crate::shell::{cargo, output, root, step, target};

/// Heading of the section.
pub const TITLE: &str = "Decoders";
/// Stages with a goal.
const GOALS: [&str; 3] = ["http1-length", "http1-chunked", "sse"];
/// Bytes a second that they should take.
const SPEED_MIN: f64 = 1e9;

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

/// Runs the benchmarks of `sensor-user` and writes the section.
pub fn measure(tools: &Tools, effort: Effort) -> Result<Section> {
    build::kernel_half(tools)?;
    let results = target()?.join("bench/criterion");
    let mut bench = cargo();
    bench.args(["bench", "--package", "sensor-user", "--bench", "decode", "--", "--noplot"]);
    bench.args(effort.sampling());
    bench.env("CRITERION_HOME", &results).current_dir(root()?);
    let told = step("measuring the decoders", || output(&mut bench))?;
    let counted = told.lines().filter_map(allocations);
    let decoded: Vec<_> = counted.map(|counted| read(&results, counted)).collect::<Result<_>>()?;
    Ok(Section { title: TITLE.to_owned(), text: text(&decoded)? })
}

fn text(decoded: &[Decoded]) -> Result<String> {
    let mut text = String::new();
    for name in GOALS {
        let found = decoded.iter().find(|stage| stage.name == name);
        let stage = found.with_context(|| format!("{name} was not measured"))?;
        let speed = stage.speed / 1e9;
        let figure = format!(
            "{speed:.2} GB/s, {} allocations in {} {}",
            stage.allocations, stage.chunks, stage.unit
        );
        let what = format!("{name}: 1 GB/s on one processor, no allocation for a chunk");
        text.push_str(&goal(&what, &figure, stage.speed >= SPEED_MIN && stage.allocations == 0));
    }
    text.push_str(
        "\nOne thread, plaintext in pieces of 16 KiB as TLS records give it. \"Copy\" copies the same bytes in the same run; \
         \"of a copy\" is the time of the stage divided by that of the copy, each in its best sample. Allocations are those \
         of a round whose buffers have grown. `path` is everything from a ring's records to priced calls: requests of \
         4 KiB, answers of 50 chunks.\n\n\
         | stage | GB/s | copy GB/s | of a copy | chunks/s | allocations |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for stage in decoded {
        let Decoded { name, ratio, allocations, chunks, unit, .. } = stage;
        let (speed, copy) = (stage.speed / 1e9, stage.copy_speed / 1e9);
        let rate = stage.chunks_a_second;
        text.extend([format!(
            "| {name} | {speed:.2} | {copy:.1} | {ratio:.2} | {rate:.0} {unit} | {allocations} in {chunks} {unit} |\n"
        )]);
    }
    Ok(text)
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
    let folder = results.join(name).join("stage/new");
    let (stage, copy) = (samples(&folder)?, samples(&results.join(name).join("copy/new"))?);
    let bytes = json(&folder, "benchmark.json")?
        .pointer("/throughput/Bytes")
        .and_then(Value::as_f64)
        .context("a benchmark counts bytes")?;
    let rounds = 1e9 / median(&stage);
    let chunks_a_round =
        u32::try_from(chunks).map(f64::from).context("a round has fewer chunks")?;
    Ok(Decoded {
        name: name.to_owned(),
        speed: bytes * rounds,
        copy_speed: bytes * 1e9 / median(&copy),
        ratio: least(&stage) / least(&copy),
        chunks_a_second: chunks_a_round * rounds,
        allocations,
        chunks,
        unit: unit.to_owned(),
    })
}

/// Samples of one benchmark, in nanoseconds for each iteration.
pub fn samples(folder: &Path) -> Result<Vec<f64>> {
    let sample = json(folder, "sample.json")?;
    let numbers =
        |name: &str| sample.get(name).and_then(Value::as_array).context("a sample lacks numbers");
    let pairs = numbers("times")?.iter().zip(numbers("iters")?);
    Ok(pairs.filter_map(|(time, count)| Some(time.as_f64()? / count.as_f64()?)).collect())
}

fn json(folder: &Path, name: &str) -> Result<Value> {
    let file = folder.join(name);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
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
