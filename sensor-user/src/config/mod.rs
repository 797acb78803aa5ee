//! The configuration file comes in; checked settings go out. What a key means stands at its field, in one place.

mod explain;
mod level;
mod named;
#[cfg(test)]
mod sample;
mod sections;
#[cfg(test)]
mod unit;

pub use sections::Attach;
pub use sections::Capture;
pub use sections::Control;
pub use sections::Files;
pub use sections::Log;
pub use sections::Policy;
pub use sections::Report;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::enforce;
use crate::http;
use crate::provider;
use crate::reassembly;
use crate::store;
use crate::workload;
use crate::workload::runtime;

/// Where the configuration is looked for; without it the defaults hold.
pub const DEFAULT_PATH: &str = "/etc/tollgate/tollgate.toml";

/// The sample file: every key with its documentation and default. A test makes it of the fields below.
pub const SAMPLE: &str = include_str!("../../../deploy/tollgate.toml");

/// Bytes of the smallest ring that holds the largest record.
const RING_BYTES_MIN: u32 = 65_536;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the agent says of itself, on standard error.
    pub log: Log,
    /// What is captured, and how.
    pub capture: Capture,
    /// Where the agent keeps and finds things.
    pub files: Files,
    /// Which policies judge calls.
    pub policy: Policy,
    /// What is refused, in the kernel.
    pub enforce: enforce::Config,
    /// What comes out.
    pub report: Report,
    /// How much is remembered of processes.
    pub workload: workload::Config,
    /// Who is asked about containers and pods. What they say names the places of calls, and the subjects of policies.
    pub runtimes: runtime::Config,
    /// Bounds of putting plaintext together.
    pub reassembly: reassembly::Config,
    /// Bounds of decoding HTTP.
    pub http: http::Config,
    /// Bounds of following calls.
    pub provider: provider::Config,
    /// What is kept on disk of the uses of AI that were seen.
    pub store: store::Config,
    /// How other commands reach the running agent.
    pub control: Control,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("reading the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is not a configuration.
    #[error("{path}: {problem}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, and what is wrong.
        problem: String,
    },
    /// What it names cannot be read.
    #[error("{path}: {problems}")]
    Named {
        /// The file.
        path: PathBuf,
        /// Each key with what it names, and why that cannot be read.
        problems: String,
    },
    /// A value is out of its range.
    #[error("{path}: {key} {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the file that was named, or the one at the usual place if there is one.
    pub fn find(named: Option<&Path>) -> Result<Self, Error> {
        match named {
            Some(path) => Self::read(path),
            None => Self::read_if_there(Path::new(DEFAULT_PATH)),
        }
    }

    /// Reads a file, or takes the defaults where nothing is. A link that leads nowhere, or a folder that keeps its files
    /// from us, is an error: whoever put it there does not mean the defaults, by which nothing is refused.
    fn read_if_there(path: &Path) -> Result<Self, Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The folder may be such a link as well.
                let nearest = path.ancestors().find(|at| fs::symlink_metadata(at).is_ok());
                match nearest.map(fs::metadata) {
                    Some(Err(source)) => Err(Error::Read { path: path.to_owned(), source }),
                    _ => Ok(Self::default()),
                }
            }
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
            Ok(_) => Self::read(path),
        }
    }

    /// Checks a text; `path` is only named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| Error::Parse {
            path: path.to_owned(),
            problem: explain::problem(text, &error),
        })?;
        config.check(path)?;
        Ok(config)
    }

    /// Checks what the types cannot; `path` is only named in errors.
    pub fn check(&self, path: &Path) -> Result<(), Error> {
        let bad = |key, problem: String| Err(Error::Value { path: path.to_owned(), key, problem });
        let ring = self.capture.ring_bytes;
        if !ring.is_power_of_two() || ring < RING_BYTES_MIN {
            return bad(
                "capture.ring_bytes",
                format!("is {ring}: it must be a power of two of at least {RING_BYTES_MIN}"),
            );
        }
        let listen = &self.report.listen;
        if !listen.is_empty() && listen.parse::<SocketAddr>().is_err() {
            let text = format!(
                "is {listen:?}: it must be an address with a port, as 127.0.0.1:9464, or empty"
            );
            return bad("report.listen", text);
        }
        if let Some(problem) = level::problem(&self.log.level) {
            return bad("log.level", format!("is {:?}: {problem}", self.log.level));
        }
        if self.store.retention_days == 0 {
            let text = "is 0: all that is kept would be forgotten at once; write 36500 to keep it for a hundred years, or store.inventory = false to keep nothing";
            return bad("store.retention_days", text.to_owned());
        }
        for (key, value) in [
            ("report.label_values_max", self.report.label_values_max),
            ("workload.processes_max", self.workload.processes_max),
            ("runtimes.containers_max", self.runtimes.containers_max),
            ("reassembly.connections_max", self.reassembly.connections_max),
            ("http.streams_max", self.http.streams_max),
            ("provider.exchanges_max", self.provider.exchanges_max),
            ("provider.calls_max", self.provider.calls_max),
        ] {
            if value == 0 {
                return bad(key, "is 0: nothing could be reported".to_owned());
            }
        }
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        if is_set(&self.policy.folder) && is_set(&self.enforce.orders) {
            let text = "is set beside policy.folder: a node is told by one of the two".to_owned();
            return bad("enforce.orders", text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn problem(text: &str) -> String {
        Config::parse(text, Path::new("tollgate.toml")).unwrap_err().to_string()
    }

    #[test]
    fn unknown_key_is_an_error_with_line_column_and_nearest_name() {
        const CASES: &[(&str, &str)] = &[
            (
                "[capture]\nring_byte = 65536\n",
                "tollgate.toml: line 2, column 1: unknown key `ring_byte`; did you mean `ring_bytes`?",
            ),
            (
                "[captures]\n",
                "tollgate.toml: line 1, column 2: unknown key `captures`; did you mean `capture`?",
            ),
            (
                "[http]\n\n  stream_max = 1\n",
                "tollgate.toml: line 3, column 3: unknown key `stream_max`; did you mean `streams_max`?",
            ),
        ];
        for (text, expected) in CASES {
            assert_eq!(problem(text), *expected);
        }
        let far = problem("[report]\nzzzz = 1\n");
        assert!(far.contains("known here: `listen`, `label_values_max`"), "{far}");
    }

    #[test]
    fn value_out_of_range_says_what_is_asked_for() {
        const CASES: &[(&str, &str)] = &[
            ("[capture]\nring_bytes = 1000\n", "power of two"),
            ("[report]\nlisten = \"nowhere\"\n", "127.0.0.1:9464"),
            ("[capture]\nattach = \"sometimes\"\n", "line 2, column 10"),
            ("[capture]\nring_bytes = -1\n", "line 2, column 14"),
            ("[log]\nlevel = \"a=b=c\"\n", "log.level"),
            (
                "[log]\nlevel = \"warning\"\n",
                "log.level is \"warning\": \"warning\" is no level; did you mean \"warn\"?",
            ),
            (
                "[store]\nretention_days = 0\n",
                "store.retention_days is 0: all that is kept would be forgotten at once; write 36500",
            ),
            ("[workload]\nprocesses_max = 0\n", "workload.processes_max is 0"),
            ("[capture\n", "line 1"),
        ];
        for (text, part) in CASES {
            let said = problem(text);
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn empty_file_is_the_default() {
        assert_eq!(Config::parse("", Path::new("x")).unwrap(), Config::default());
    }

    #[test]
    fn missing_file_is_an_error_only_where_it_was_named() {
        let error = Config::find(Some(Path::new("/nonexistent.toml"))).unwrap_err();
        assert_eq!(error.to_string(), "reading the configuration /nonexistent.toml");
        let usual = Path::new("/nonexistent/tollgate.toml");
        assert_eq!(Config::read_if_there(usual).unwrap(), Config::default());
    }

    #[test]
    fn usual_place_that_leads_nowhere_is_an_error_and_not_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink(at("gone.toml"), at("link.toml")).unwrap();
        symlink(at("gone"), at("folder")).unwrap();
        fs::write(at("file"), "").unwrap();
        for name in ["link.toml", "folder/tollgate.toml", "file/tollgate.toml"] {
            let error = Config::read_if_there(&at(name)).unwrap_err();
            assert!(matches!(error, Error::Read { .. }), "{name}: {error:?}");
        }
        fs::write(at("gone.toml"), "[capture]\nring_bytes = 131072\n").unwrap();
        let config = Config::read_if_there(&at("link.toml")).unwrap();
        assert_eq!(config.capture.ring_bytes, 131_072);
    }
}
