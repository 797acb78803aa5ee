//! Arguments come in; the command runs, and its exit status says how it went.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use sensor_user::agent::{self, Outputs};
use sensor_user::cli::{self, Cli, Command, ConfigAction, Output, Run};
use sensor_user::config::{self, Config};
use sensor_user::report::doctor::{self, State};
use sensor_user::report::sinks::terminal::Look;
use sensor_user::report::sinks::{JsonLines, Terminal};
use sensor_user::report::{Metrics, Sink};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(options) => run(&options),
        Command::Doctor { output } => examine(output),
        Command::Config { action: ConfigAction::Sample } => print(config::SAMPLE.as_bytes()),
        Command::Config { action: ConfigAction::Check { path } } => {
            Config::read(&path)?;
            print(format!("{} is right\n", path.display()).as_bytes())
        }
        Command::Completions { shell } => {
            cli::completions(shell, &mut io::stdout()).context("writing the completion script")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            cli::man(&mut io::stdout()).context("writing the manual page")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(text).context("writing to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn run(options: &Run) -> anyhow::Result<ExitCode> {
    let config = options.configuration()?;
    let level = EnvFilter::try_new(&config.log.level).context("reading the log level")?;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(level)
        .with_ansi(false)
        .init();
    let out = io::stdout();
    let sink: Box<dyn Sink + Send> = match options.output {
        Output::Json => Box::new(JsonLines::new(out, agent::host_name())),
        Output::Text => Box::new(Terminal::new(out, Look::of_stdout(cli::is_colour_unwanted()))),
    };
    let outputs = Outputs {
        sinks: vec![sink],
        filter: options.filter(),
        metrics: Arc::new(Metrics::new(config.report.label_values_max)?),
        totals_every: options.totals_interval(),
    };
    agent::run(config, outputs)?;
    Ok(ExitCode::SUCCESS)
}

/// Exits with 1 where the agent would see nothing.
fn examine(output: Output) -> anyhow::Result<ExitCode> {
    let findings = agent::examine(&Config::find(None)?);
    let mut out = io::stdout();
    match output {
        Output::Json => doctor::write_json(&mut out, &findings)?,
        Output::Text => {
            doctor::write_text(&mut out, &findings, &Look::of_stdout(cli::is_colour_unwanted()))?;
        }
    }
    let blind = doctor::worst(&findings) == State::Blind;
    Ok(if blind { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
