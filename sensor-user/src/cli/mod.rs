//! The command line comes in; one command with its checked options goes out.

mod ask;
mod generate;
mod panic;
mod policy;
mod offsets;
mod run;

pub use ask::Ask;
pub use ask::Form;
pub use ask::ReportOptions;
pub use generate::completions;
pub use generate::man;
pub use offsets::OffsetsAction;
pub use panic::PanicAction;
pub use panic::PanicCommand;
pub use panic::PanicScope;
pub use policy::Apply;
pub use policy::Edit;
pub use policy::PolicyAction;
pub use run::Listen;
pub use run::Run;
pub use run::Show;

use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap_complete::Shell;

/// Sees every AI call of this machine: who made it, with which key, to which model, at what price.
#[derive(Clone, Debug, Parser)]
#[command(name = "tollgate", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch this machine in the foreground and show each AI call as it ends.
    Run(Box<Run>),
    /// Tell what can be seen on this machine, what cannot, why, and what to do about it.
    Doctor {
        /// Configuration file of the agent; without one, /etc/tollgate/tollgate.toml if it is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How the findings are written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Tell how the running agent fares: what it watches, what it could not see, what it lost.
    Status {
        /// How to reach the agent.
        #[command(flatten)]
        ask: Ask,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Show the inventory of AI in use: which services, models and tools, by whom, since when, at what price.
    Report(ReportOptions),
    /// Stop AI calls in the kernel at once, with or without a running agent; or lift that, or tell of it.
    Panic(PanicCommand),
    /// Print or check the configuration.
    Config {
        /// Which of the two.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Check, try out, compare and put policies into force.
    Policy {
        /// Which of these.
        #[command(subcommand)]
        action: PolicyAction,
    },
    /// Find the functions of TLS libraries in files without symbols; check the table of known builds.
    Offsets {
        /// Which of the two.
        #[command(subcommand)]
        action: OffsetsAction,
    },
    /// Print a completion script, as `tollgate completions bash > /etc/bash_completion.d/tollgate`.
    Completions {
        /// The shell that will read it.
        shell: Shell,
    },
    /// Print the manual page, as `tollgate man | man -l -`.
    Man,
}

/// What to do with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigAction {
    /// Print a configuration file with every key, its documentation and its default.
    Sample,
    /// Say whether a configuration file is right and the files that it names can be read, and where not.
    Check {
        /// The file.
        #[arg(default_value = crate::config::DEFAULT_PATH)]
        path: PathBuf,
    },
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: aligned, with colours on a terminal.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Whether the operator asks for no colours (<https://no-color.org>): `NO_COLOR` is set to anything but nothing.
pub fn is_colour_unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn command_line_is_read() {
        let cli = Cli::try_parse_from(["tollgate", "config", "check", "a.toml"]).unwrap();
        let Command::Config { action } = cli.command else { panic!("{cli:?}") };
        assert_eq!(action, ConfigAction::Check { path: PathBuf::from("a.toml") });
        let cli = Cli::try_parse_from(["tollgate", "doctor", "--config", "a.toml"]).unwrap();
        let Command::Doctor { config, output } = cli.command else { panic!("{cli:?}") };
        assert_eq!((config, output), (Some(PathBuf::from("a.toml")), Output::Text));
        assert!(Cli::try_parse_from(["tollgate", "doctor", "--output", "xml"]).is_err());
        assert!(Cli::try_parse_from(["tollgate", "stats"]).is_err());
    }
}
