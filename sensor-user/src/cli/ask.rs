//! The options of the commands that ask a running agent come in; its socket and what is wanted go out.

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::config::Config;
use crate::config::Error;

/// Seconds in a day.
const SECONDS_PER_DAY: i64 = 86_400;

/// How to reach the agent.
#[derive(Clone, Debug, Default, Args)]
pub struct Ask {
    /// Configuration file of the agent; without one, /etc/tollgate/tollgate.toml if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Socket of the agent, instead of the configured one.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl Ask {
    /// The agent's socket.
    pub fn socket(&self) -> Result<PathBuf, Error> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(Config::find(self.config.as_deref())?.control.socket),
        }
    }
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Tables for people.
    Text,
    /// One JSON object a row.
    Json,
    /// Comma-separated values, one record a row.
    Csv,
    /// One self-contained page.
    Html,
}

/// Options of `tollgate report`.
#[derive(Clone, Debug, Args)]
pub struct ReportOptions {
    /// How to reach the agent.
    #[command(flatten)]
    pub ask: Ask,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    pub format: Form,
    /// Only what was seen in the last so many days; everything that is kept without it.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    pub days: Option<u32>,
}

impl ReportOptions {
    /// The earliest time of the last sight, seconds since 1970.
    pub fn since(&self, now: i64) -> i64 {
        let span = self.days.map(|days| i64::from(days).saturating_mul(SECONDS_PER_DAY));
        span.map_or(0, |span| now.saturating_sub(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::cli::Command;
    use clap::Parser;

    #[test]
    fn socket_and_days_are_read() {
        let words = ["tollgate", "report", "--socket", "/x", "--days", "2", "--format", "html"];
        let Command::Report(options) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(options.ask.socket().unwrap(), PathBuf::from("/x"));
        assert_eq!((options.format, options.since(200_000)), (Form::Html, 27_200));
        assert!(Cli::try_parse_from(["tollgate", "report", "--days", "0"]).is_err());
    }
}
