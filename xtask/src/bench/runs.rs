//! The test that runs each client with and without the sensor is run; how long they took goes out.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::Effort;
use crate::bench::document::Section;
use crate::shell::{cargo, output, root, step};

/// Heading of the section.
pub const TITLE: &str = "Runs of whole clients";
/// Runs of each client, each way.
const RUNS: u32 = 1_000;
/// The same in a smoke run.
const RUNS_QUICK: u32 = 4;
/// What the test begins a measurement with.
const MARK: &str = "note: runs: ";

/// Runs the test with the program and writes the section.
pub fn measure(tollgate: &Path, runs: Option<u32>, effort: Effort) -> Result<Section> {
    let runs = runs.unwrap_or(if effort.is_quick { RUNS_QUICK } else { RUNS });
    let mut test = cargo();
    test.args(["test", "--package", "tollgate-tests", "--test", "alone", "--", "--nocapture"]);
    // The test shows what it measures on standard error.
    let line = format!(
        "exec {} {} runs:: 2>&1",
        test.get_program().display(),
        test.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line]).current_dir(root()?);
    shell.env("TOLLGATE_RUNS", runs.to_string()).env("TOLLGATE_BIN", tollgate);
    let told = step(&format!("{runs} runs of each client, each way"), || output(&mut shell))?;
    Ok(Section { title: TITLE.to_owned(), text: text(&told)? })
}

fn text(told: &str) -> Result<String> {
    let mut text = "Each client's process from its start to its end, with one call: alone, beside the sensor, beside, alone. All \
        ended well, each call beside the sensor was reported once. Milliseconds at the median.\n\n\
        | client | runs each way | alone, ms | beside the sensor, ms | ratio |\n|---|---:|---:|---:|---:|\n"
        .to_owned();
    let rows: Vec<_> = told.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
    ensure!(!rows.is_empty(), "the test showed no measurement: {told}");
    for row in rows {
        let row: Value = serde_json::from_str(row).context("reading a measurement")?;
        let of = |name: &str| row.get(name).with_context(|| format!("a measurement has {name}"));
        let number = |name: &str| of(name)?.as_f64().context("a measurement is a number");
        let (client, runs) = (of("client")?.as_str().unwrap_or_default(), of("runs")?);
        let (alone, beside) = (number("alone_ms")?, number("beside_ms")?);
        let ratio = beside / alone;
        text.extend([format!("| {client} | {runs} | {alone:.1} | {beside:.1} | {ratio:.2} |\n")]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read_and_none_is_an_error() {
        let told = "running 1 test\nnote: runs: {\"client\":\"curl-h1\",\"runs\":8,\"alone_ms\":20.0,\"beside_ms\":21.0}\n";
        assert!(text(told).unwrap().contains("| curl-h1 | 8 | 20.0 | 21.0 | 1.05 |"));
        assert!(text("running 0 tests\n").is_err());
    }
}
