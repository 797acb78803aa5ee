//! The configuration file comes in; checked settings go out, and the sample file is made of the same table.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::http;
use crate::reassembly;

/// Makes a section: each key's documentation, type, default and line in the sample come from one place.
macro_rules! section {
    ($(#[$outer:meta])* $name:ident [$table:literal] {
        $($(#[doc = $doc:literal])+ $key:ident: $kind:ty = $default:expr => $text:literal,)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[doc = $doc])+ pub $key: $kind,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            fn sample(text: &mut String) {
                text.push_str(concat!("\n[", $table, "]\n"));
                $(
                    $(text.push_str(concat!("#", $doc, "\n"));)+
                    text.push_str(concat!("# ", stringify!($key), " = ", $text, "\n"));
                )+
            }
        }
    };
}

section! {
    /// What is captured, and how.
    Capture ["capture"] {
        /// When a process gets probes: "intent" (it talks to AI, or did before) or "eager" (every process).
        attach: Attach = Attach::Intent => "\"intent\"",
        /// Hold a first ClientHello to an AI provider back until the probes stand: the first request of a program
        /// never seen before is not missed, but takes at least 200 ms longer.
        hold_client_hello: bool = false => "false",
        /// Bytes of the ring that carries plaintext; a power of two.
        ring_bytes: u32 = sensor_common::limits::DATA_RING_BYTES => "16777216",
        /// Seconds that a process with connections older than the agent keeps its probes without AI traffic.
        probation_seconds: u64 = 60 => "60",
        /// Remote ports that make such a process worth a look.
        scan_ports: Vec<u16> = vec![443] => "[443]",
        /// Host names, besides those of the catalogue, that count as AI providers; `*` stands for any run of characters.
        intent_hosts: Vec<String> = Vec::new() => "[]",
    }
}

section! {
    /// Where the agent keeps and finds things.
    Files ["files"] {
        /// Folder for what outlives the agent: learnt programs and the key of fingerprints.
        state: PathBuf = PathBuf::from("/var/lib/tollgate") => "\"/var/lib/tollgate\"",
        /// File with the 32-byte key of fingerprints in hex, so that a fleet agrees; made at first start when empty.
        fleet_key: PathBuf = PathBuf::new() => "\"\"",
        /// More rows for the catalogue of providers; none when empty.
        providers: PathBuf = PathBuf::new() => "\"\"",
        /// More rows for the price table; none when empty.
        prices: PathBuf = PathBuf::new() => "\"\"",
    }
}

section! {
    /// What comes out.
    Report ["report"] {
        /// Address of /metrics, /healthz and /readyz; empty for none.
        listen: String = "127.0.0.1:9464".to_owned() => "\"127.0.0.1:9464\"",
        /// Different values that one metric label may take before the rest is counted as "other".
        label_values_max: usize = 200 => "200",
    }
}

/// When a process gets probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// When it shows that it talks to AI.
    Intent,
    /// Always.
    Eager,
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is captured, and how.
    pub capture: Capture,
    /// Where the agent keeps and finds things.
    pub files: Files,
    /// What comes out.
    pub report: Report,
    /// Bounds of putting plaintext together.
    pub reassembly: reassembly::Config,
    /// Bounds of decoding HTTP.
    pub http: http::Config,
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
        let text =
            fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks a text; `path` is only named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| Error::Parse {
            path: path.to_owned(),
            problem: explain(text, &error),
        })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), Error> {
        let bad = |key, problem: String| Error::Value { path: path.to_owned(), key, problem };
        if !self.capture.ring_bytes.is_power_of_two() || self.capture.ring_bytes < 65_536 {
            let text = format!("is {}: it must be a power of two of at least 65536", self.capture.ring_bytes);
            return Err(bad("capture.ring_bytes", text));
        }
        if !self.report.listen.is_empty() && self.report.listen.parse::<SocketAddr>().is_err() {
            let text = format!("is {:?}: it must be an address with a port, as 127.0.0.1:9464", self.report.listen);
            return Err(bad("report.listen", text));
        }
        Ok(())
    }

    /// The sample file: every key with its documentation and default.
    pub fn sample() -> String {
        let mut text = "# Configuration of Tollgate. Every key stands here with its default.\n".to_owned();
        Capture::sample(&mut text);
        Files::sample(&mut text);
        Report::sample(&mut text);
        text
    }
}

impl Capture {
    /// Whether every process gets probes.
    pub fn is_eager(&self) -> bool {
        self.attach == Attach::Eager
    }

    /// Probation in nanoseconds.
    pub fn probation_ns(&self) -> u64 {
        self.probation_seconds.saturating_mul(1_000_000_000)
    }

    /// Whether the name is one of the configured hosts.
    pub fn is_intent_host(&self, name: &str) -> bool {
        self.intent_hosts.iter().any(|pattern| matches_pattern(pattern, name))
    }
}

/// Matches a name against a pattern in which `*` stands for any run of characters, anchored at both ends.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            let Some(at) = str::find(rest, part) else { return false };
            rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default();
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// Line, column, the problem, and the nearest known key where a key is unknown.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().map_or(0, str::len).saturating_add(1);
    let message = error.message();
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let nearest = unknown.and_then(nearest_key).map_or_else(String::new, |key| format!("; did you mean `{key}`?"));
    let message = message.split(", expected").next().unwrap_or(message);
    format!("line {line}, column {column}: {message}{nearest}")
}

fn nearest_key(unknown: &str) -> Option<&'static str> {
    let sections = ["capture", "files", "report", "reassembly", "http"];
    let keys = [Capture::KEYS, Files::KEYS, Report::KEYS, &sections].concat();
    keys.into_iter()
        .map(|key| (strsim::jaro_winkler(unknown, key), key))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Config::parse(text, Path::new("tollgate.toml")).unwrap_err().to_string()
    }

    #[test]
    fn unknown_key_is_an_error_with_line_column_and_nearest_name() {
        let text = problem("[capture]\nring_byte = 65536\n");
        assert!(text.contains("line 2, column 1") && text.contains("did you mean `ring_bytes`"), "{text}");
    }

    #[test]
    fn value_out_of_range_says_what_is_asked_for() {
        assert!(problem("[capture]\nring_bytes = 1000\n").contains("power of two"));
        assert!(problem("[report]\nlisten = \"nowhere\"\n").contains("127.0.0.1:9464"));
        assert!(problem("[capture]\nattach = \"sometimes\"\n").contains("line 2"));
    }

    #[test]
    fn sample_holds_every_key_and_reads_as_the_defaults() {
        let sample = Config::sample();
        for key in [Capture::KEYS, Files::KEYS, Report::KEYS].concat() {
            assert!(sample.contains(&format!("# {key} = ")), "{key}");
        }
        let keys = |line: &str| line.strip_prefix("# ").filter(|rest| rest.contains(" = ") && !rest.contains(": "))
            .map_or_else(|| line.to_owned(), str::to_owned);
        let live: Vec<_> = sample.lines().map(keys).collect();
        assert_eq!(Config::parse(&live.join("\n"), Path::new("sample")).unwrap(), Config::default());
    }

    #[test]
    fn sample_in_the_repository_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tollgate.toml");
        if option_env!("TOLLGATE_BLESS").is_some() {
            fs::write(&path, Config::sample()).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), Config::sample(), "run the tests with TOLLGATE_BLESS=1");
    }

    #[test]
    fn host_patterns_are_anchored_at_both_ends() {
        const CASES: [(&str, &str, bool); 6] = [
            ("llm.corp.example", "llm.corp.example", true),
            ("llm.corp.example", "llm.corp.example.evil.test", false),
            ("*.corp.example", "llm.corp.example", true),
            ("*.corp.example", "corp.example", false),
            ("llm-*.example", "llm-eu.example", true),
            ("a*b*c", "aXbYc", true),
        ];
        for (pattern, name, expected) in CASES {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
