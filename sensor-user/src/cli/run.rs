//! The options of `tollgate run` come in; the configuration with what they change, and the filter of the view, go out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::Output;
use crate::config::Attach;
use crate::config::Config;
use crate::config::Error;
use crate::report::Filter;
use crate::spend::parse_usd;

/// Options of `tollgate run`. What is not given here stands in the configuration file.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Configuration file; without one, /etc/tollgate/tollgate.toml if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How calls are written to standard output: a table for people, or JSON Lines.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// When a process gets probes.
    #[arg(long, value_enum)]
    pub attach: Option<Attach>,
    /// Hold a program's first TLS handshake back until the probes stand, so that not even its first request is missed.
    #[arg(long)]
    pub hold: bool,
    /// Address of /metrics, /healthz and /readyz, or "none".
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub listen: Option<Listen>,
    /// Folder for what outlives the agent.
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// Least level that is logged: "error", "warn", "info", "debug" or "trace"; "off" for nothing.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Print totals every so many seconds; they are printed at the end, and on SIGUSR1, in any case.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub totals: Option<u32>,
    /// Which calls are shown; metrics count all of them.
    #[command(flatten)]
    pub show: Show,
}

/// Which calls are shown. `*` stands for any characters; an option given twice shows either.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Show only calls")]
pub struct Show {
    /// To this provider, as "openai".
    #[arg(long, value_name = "NAME")]
    pub provider: Vec<String>,
    /// To this model, as "gpt-4*".
    #[arg(long, value_name = "NAME")]
    pub model: Vec<String>,
    /// Of this program or process id.
    #[arg(long, value_name = "NAME|PID")]
    pub process: Vec<String>,
    /// Of this user; of one without a name here, by the id.
    #[arg(long, value_name = "NAME|UID")]
    pub user: Vec<String>,
    /// Of this container.
    #[arg(long, value_name = "ID|NAME")]
    pub container: Vec<String>,
    /// Of this pod, as "web-7f9c" or "shop/web-*".
    #[arg(long, value_name = "NAME")]
    pub pod: Vec<String>,
    /// Of pods in this namespace.
    #[arg(long, value_name = "NAME")]
    pub namespace: Vec<String>,
    /// Of this systemd unit.
    #[arg(long, value_name = "NAME")]
    pub unit: Vec<String>,
    /// With this key, by its fingerprint.
    #[arg(long, value_name = "FINGERPRINT")]
    pub key: Vec<String>,
    /// That cost at least this many dollars, as "0.01".
    #[arg(long, value_name = "USD", value_parser = dollars)]
    pub min_cost: Option<i64>,
    /// That failed or were cut.
    #[arg(long)]
    pub errors: bool,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Nowhere,
    /// Here.
    At(SocketAddr),
}

fn address(text: &str) -> Result<Listen, String> {
    if text == "none" {
        return Ok(Listen::Nowhere);
    }
    text.parse()
        .map(Listen::At)
        .map_err(|error| format!("{error}: give an address with a port, as 127.0.0.1:9464"))
}

fn dollars(text: &str) -> Result<i64, String> {
    parse_usd(text).map_err(|error| error.to_string())
}

impl Run {
    /// The configuration file, or the defaults, with the options of the command line over them.
    pub fn configuration(&self) -> Result<Config, Error> {
        let mut config = Config::find(self.config.as_deref())?;
        if let Some(attach) = self.attach {
            config.capture.attach = attach;
        }
        config.capture.hold_client_hello |= self.hold;
        match self.listen {
            Some(Listen::Nowhere) => config.report.listen.clear(),
            Some(Listen::At(address)) => config.report.listen = address.to_string(),
            None => {}
        }
        if let Some(state) = &self.state {
            config.files.state.clone_from(state);
        }
        if let Some(level) = &self.log {
            config.log.level.clone_from(level);
        }
        config.check("command line".as_ref())?;
        Ok(config)
    }

    /// Which calls are shown.
    pub fn filter(&self) -> Filter {
        let show = self.show.clone();
        Filter {
            provider: show.provider,
            model: show.model,
            process: show.process,
            user: show.user,
            container: show.container,
            pod: show.pod,
            namespace: show.namespace,
            unit: show.unit,
            key: show.key,
            min_cost: show.min_cost,
            errors: show.errors,
        }
    }

    /// Time between two tables of totals.
    pub fn totals_interval(&self) -> Option<Duration> {
        self.totals.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::cli::Command;
    use clap::Parser;

    fn run(arguments: &[&str]) -> Result<Run, String> {
        let all = ["tollgate", "run"].iter().chain(arguments);
        match Cli::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        std::fs::write(
            &file,
            "[capture]\nring_bytes = 131072\n[report]\nlisten = \"127.0.0.1:1\"\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let config = run(&["--config", file]).unwrap().configuration().unwrap();
        assert_eq!(
            (config.capture.ring_bytes, config.report.listen.as_str()),
            (131_072, "127.0.0.1:1")
        );
        let options = [
            "--config", file, "--attach", "eager", "--hold", "--listen", "[::1]:9", "--log",
            "debug",
        ];
        let config = run(&options).unwrap().configuration().unwrap();
        assert!(config.capture.is_eager() && config.capture.hold_client_hello);
        assert_eq!(
            (config.report.listen.as_str(), config.log.level.as_str()),
            ("[::1]:9", "debug")
        );
        let config = run(&["--config", file, "--listen", "none"]).unwrap().configuration().unwrap();
        assert_eq!(config.report.listen, "");
    }

    #[test]
    fn filter_takes_lists_and_exact_dollars() {
        let options =
            ["--provider", "openai", "--provider", "anth*", "--min-cost", "0.0012", "--errors"];
        let filter = run(&options).unwrap().filter();
        assert_eq!(filter.provider, ["openai", "anth*"]);
        assert_eq!((filter.min_cost, filter.errors), (Some(1_200_000_000), true));
    }

    #[test]
    fn wrong_option_is_explained() {
        const CASES: &[(&[&str], &str)] = &[
            (&["--listen", "9464"], "127.0.0.1:9464"),
            (&["--min-cost", "cheap"], "min-cost"),
            (&["--attach", "never"], "intent"),
            (&["--totals", "0"], "totals"),
            (&["--provder", "x"], "--provider"),
        ];
        for (options, part) in CASES {
            let said = run(options).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        for level in ["a=b=c", "inof"] {
            let run = run(&["--log", level]).unwrap();
            let said = run.configuration().unwrap_err().to_string();
            assert!(said.starts_with("command line: log.level"), "{said}");
        }
    }
}
