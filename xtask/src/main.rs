//! The name of a task comes in; the machine is set up, and the project is built, run, tested or checked.
#![expect(
    unreachable_pub,
    reason = "a program exports nothing; `pub` says what a module offers to the others"
)]

mod bench;
mod build;
mod ci;
mod fuzz;
mod kernel;
mod prices;
mod run;
mod setup;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::build::Profile;
use crate::setup::{Missing, TEST};

/// Everything that is done with this source tree.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Finds or installs what building and running need; a second run does nothing.
    Setup {
        /// Print what is missing instead of installing it.
        #[arg(long)]
        no_install: bool,
        /// Also what the tests and the demo need.
        #[arg(long)]
        tests: bool,
    },
    /// Builds the kernel half for each architecture, then `tollgate`.
    Build {
        /// With optimisation.
        #[arg(long)]
        release: bool,
    },
    /// Sets up, builds and runs the sensor.
    Run {
        /// Passed on to `tollgate run`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Shows the sensor at work on the lab's clients, without a key and without the internet.
    Demo,
    /// Sets up, builds and runs all tests.
    Test {
        /// Print what is missing instead of installing it.
        #[arg(long)]
        no_install: bool,
        /// Run only tests whose name holds this.
        filter: Option<String>,
    },
    /// Runs every check: format, house rules, lints, documents, tests.
    Ci {
        /// Leave out the tests, which `test` runs.
        #[arg(long)]
        except_tests: bool,
    },
    /// Checks the house rules that no compiler knows.
    Tidy {
        /// Only these checks.
        checks: Vec<tidy::Check>,
    },
    /// Boots other kernels in QEMU and runs the sensor there.
    Kernel(kernel::Options),
    /// Runs the fuzz targets, or those named, for some seconds each.
    Fuzz {
        /// Passed on: `--seconds N`, names of targets.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures the decoders and the whole sensor, and writes BENCHMARKS.md.
    Bench {
        /// Passed on: names of parts, `--quick`, `--rounds N`, `--seconds N`, `--minutes N`, `--runs N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Makes the price table from the data of a `genai-prices` release.
    Prices {
        /// JSON file, version, date, and another output file.
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run_task(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<()> {
    let missing = |no_install| if no_install { Missing::Tell } else { Missing::Install };
    match task {
        Task::Setup { no_install, tests } => {
            setup::run(if tests { TEST } else { &[] }, missing(no_install))
        }
        Task::Build { release } => {
            let tools = setup::tools(&[], Missing::Install)?;
            let profile = if release { Profile::Release } else { Profile::Debug };
            build::all(&tools, profile).map(|tollgate| shell::print(&tollgate.to_string_lossy()))
        }
        Task::Run { arguments } => run::sensor(&arguments),
        Task::Demo => run::demo(),
        Task::Test { no_install, filter } => test::run(missing(no_install), filter.as_deref()),
        Task::Ci { except_tests } => ci::all(!except_tests),
        Task::Tidy { checks } => tidy::run(&checks),
        Task::Kernel(options) => kernel::run(&options),
        Task::Fuzz { arguments } => fuzz::run(&arguments),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Prices { arguments } => prices::run(&arguments),
    }
}
