//! The policies' benchmarks are run; how long sets of several sizes take to decide goes out.

use anyhow::{Context, Result};

use crate::bench::Effort;
use crate::bench::decode::samples;
use crate::bench::document::{Section, goal};
use crate::bench::statistics::median;
use crate::build;
use crate::setup::Tools;
use crate::shell::{cargo, output, root, step, target};

/// Heading of the section.
pub const TITLE: &str = "Policies";
/// Rules of the sets, as the benchmark has them.
const SIZES: [u32; 3] = [10, 1_000, 10_000];
/// The set that the goal is about.
const RULES: u32 = 1_000;
/// Nanoseconds that a decision may take at the median.
const DECISION_MAX_NS: f64 = 5_000.0;
/// What is measured of each set, as the benchmark calls it.
const KINDS: [&str; 3] = ["decide", "outlook", "read"];

/// Medians of one set, in nanoseconds, in the order of `KINDS`.
struct Times {
    rules: u32,
    medians: [f64; 3],
}

/// Runs the benchmarks of `sensor-user` and writes the section.
pub fn measure(tools: &Tools, effort: Effort) -> Result<Section> {
    build::kernel_half(tools)?;
    let results = target()?.join("bench/criterion");
    let mut bench = cargo();
    bench.args(["bench", "--package", "sensor-user", "--bench", "policy", "--", "--noplot"]);
    bench.args(effort.sampling());
    bench.env("CRITERION_HOME", &results).current_dir(root()?);
    step("measuring the policies", || output(&mut bench))?;
    let mut times = Vec::new();
    for rules in SIZES {
        let mut medians = [0.0; 3];
        for (kind, time) in KINDS.iter().zip(&mut medians) {
            let folder = results.join(format!("policy-{rules}")).join(kind).join("new");
            *time = median(&samples(&folder)?);
        }
        times.push(Times { rules, medians });
    }
    Ok(Section { title: TITLE.to_owned(), text: text(&times)? })
}

fn text(times: &[Times]) -> Result<String> {
    let asked = times.iter().find(|set| set.rules == RULES).context("the set was not measured")?;
    let [decide, ..] = asked.medians;
    let what = format!("a decision by {RULES} rules in less than 5 µs at the median");
    let mut text = goal(&what, &format!("{:.2} µs", decide / 1e3), decide < DECISION_MAX_NS);
    text.push_str(
        "\nOne policy whose last rule is about the call. \"Settle\" says what is decided before the call is made, as the \
         gate is told; \"read\" takes the documents from text to an engine.\n\n\
         | rules | decide, µs | settle, µs | read, ms |\n|---:|---:|---:|---:|\n",
    );
    for Times { rules, medians: [decide, outlook, read] } in times {
        let (decide, outlook, read) = (decide / 1e3, outlook / 1e3, read / 1e6);
        text.extend([format!("| {rules} | {decide:.2} | {outlook:.2} | {read:.2} |\n")]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goal_is_that_of_a_thousand_rules() {
        let set = |rules, decide| Times { rules, medians: [decide, 2_000.0, 3e6] };
        let text = text(&[set(10, 9_000.0), set(1_000, 1_000.0)]).unwrap();
        assert!(text.contains("Here: 1.00 µs, **held**"), "{text}");
        assert!(text.contains("| 10 | 9.00 | 2.00 | 3.00 |"), "{text}");
    }
}
