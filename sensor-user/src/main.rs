//! Arguments come in; the command runs, and its exit status says how it went.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use sensor_user::agent::{self, Outputs};
use sensor_user::cli::{self, Ask, Cli, Command, ConfigAction, Form, Output, ReportOptions, Run};
use sensor_user::config::{self, Config};
use sensor_user::report::control::{self, Picture, client};
use sensor_user::report::doctor::{self, State};
use sensor_user::report::sinks::terminal::Look;
use sensor_user::report::sinks::{Inventory, JsonLines, Terminal};
use sensor_user::report::{Metrics, Sink, escape, inventory};
use sensor_user::store::Entry;
use tracing_subscriber::EnvFilter;

/// Exit status of a command that did not say all because nobody read on, as of a program that SIGPIPE ends.
const UNREAD: u8 = 141;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // It watches until its reader has enough; what others say is cut short by that.
    let unread = if matches!(command, Command::Run(_)) { 0 } else { UNREAD };
    carry_out(command).unwrap_or_else(|error| {
        if has_no_reader(&error) {
            return ExitCode::from(unread);
        }
        // Not as a result of `main`: where `RUST_BACKTRACE` is set, a line about a typing error would have a stack below it.
        let said = escape::lines(&format!("{error:#}"));
        let _nobody_reads = writeln!(io::stderr(), "Error: {said}");
        ExitCode::FAILURE
    })
}

/// Whether whoever read standard output has gone, as `head` does: nothing is wrong then.
fn has_no_reader(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => run(&options),
        Command::Doctor { config, output } => examine(config.as_deref(), output),
        Command::Status { ask, output } => status(&ask, output),
        Command::Report(options) => report(&options),
        Command::Config { action: ConfigAction::Sample } => print(config::SAMPLE.as_bytes()),
        Command::Config { action: ConfigAction::Check { path } } => {
            Config::read(&path)?.check_named(&path)?;
            print(format!("{} is right\n", path.display()).as_bytes())
        }
        Command::Policy { action } => {
            let good = action.run(&mut io::stdout(), agent::now())?;
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Panic(command) => {
            let config = Config::find(command.config.as_deref())?;
            print(agent::alarm(&config, &command.action)?.as_bytes())
        }
        Command::Offsets { action } => {
            let right = action.run(&mut io::stdout())?;
            Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    let mut out = io::stdout();
    out.write_all(text).and_then(|()| out.flush()).context("writing to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn run(options: &Run) -> anyhow::Result<ExitCode> {
    let config = options.configuration()?;
    agent::check_machine()?;
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
    let metrics = Arc::new(Metrics::new(config.report.label_values_max)?);
    let mut kept: Vec<Box<dyn Sink + Send>> = Vec::new();
    if config.store.inventory {
        agent::make_state_folder(&config)?;
        if let Some(store) = agent::open_inventory(&config, &metrics)? {
            kept.push(Box::new(Inventory::new(store, &config.store, Arc::clone(&metrics))));
        }
    }
    let outputs = Outputs {
        sinks: vec![sink],
        kept,
        filter: options.filter(),
        metrics,
        totals_every: options.totals_interval(),
    };
    agent::run(config, outputs)?;
    Ok(ExitCode::SUCCESS)
}

fn ask<T: serde::de::DeserializeOwned>(ask: &Ask, path: &str) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(client::get(&ask.socket()?, path))?)
}

fn status(options: &Ask, output: Output) -> anyhow::Result<ExitCode> {
    let picture: Picture = ask(options, control::STATUS)?;
    let text = match output {
        Output::Json => format!("{}\n", escape::json(&serde_json::to_string(&picture)?)),
        Output::Text => picture.text(jiff::Timestamp::now().as_second()),
    };
    print(text.as_bytes())?;
    Ok(if picture.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let now = jiff::Timestamp::now();
    let path = format!("{}?since={}", control::INVENTORY, options.since(now.as_second()));
    let entries: Vec<Entry> = ask(&options.ask, &path)?;
    let mut out = io::stdout().lock();
    match options.format {
        Form::Text => {
            let look = Look::of_stdout(cli::is_colour_unwanted());
            out.write_all(inventory::text(&entries, &look).as_bytes())?;
        }
        Form::Json => inventory::json(&entries, &mut out)?,
        Form::Csv => inventory::csv(&entries, &mut out)?,
        Form::Html => {
            let made = format!("{now:.0}");
            out.write_all(inventory::html(&entries, &agent::host_name(), &made)?.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Exits with 1 where the agent would see nothing.
fn examine(config: Option<&Path>, output: Output) -> anyhow::Result<ExitCode> {
    let findings = agent::examine(&Config::find(config)?);
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
