//! The options of `tollgate policy` come in; policies are checked, tried out, compared and put into force.

mod apply;
mod changes;
mod edit;
mod judge;
mod known;
mod versions;
mod write;
#[cfg(test)]
mod applies;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod tests;

pub use apply::Apply;
pub use edit::Edit;

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::Output;

/// Where policies are kept and looked for.
const DEFAULT_FOLDER: &str = "/etc/tollgate/policies";

/// What to do with policies.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyAction {
    /// Say whether policies are right, and where not; warn of rules that can never have an effect.
    Check {
        /// Files and folders; of a folder that keeps versions, the one in force.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Configuration file of the agent; it says which providers are known beside those that come with the program.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How the findings are written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Run the rows of NAME.test.yaml beside each NAME.yaml; rows without it are an error.
    Test {
        /// Files and folders; of a folder that keeps versions, the one in force.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// How the outcome is written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Say what policies decide about one call, and why.
    Explain {
        /// Files and folders; of a folder that keeps versions, the one in force.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// What is known of the call, as "model=gpt-5" or "labels=app=web".
        #[arg(long, value_name = "NAME=VALUE")]
        fact: Vec<String>,
        /// What is not known of it, as "model".
        #[arg(long, value_name = "NAME")]
        unknown: Vec<String>,
        /// File with one recorded event as JSON, or "-" for standard input, in place of facts.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["fact", "unknown"])]
        event: Option<PathBuf>,
        /// When the call is made, as "2027-01-31T18:00:00Z"; now, where left out.
        #[arg(long, value_name = "TIME")]
        at: Option<jiff::Timestamp>,
        /// How the decision is written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Say what policies would have decided on recorded calls, and on connections without one, each at its own time.
    Replay {
        /// File of events, one JSON object a line.
        #[arg(long, value_name = "FILE")]
        events: PathBuf,
        /// Files and folders of policies; of a folder that keeps versions, the one in force.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// How the decisions are written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Say for which recorded calls, and connections without one, two sets of policies decide differently.
    Diff {
        /// File or folder of the policies in force, also the folder that keeps versions.
        old: PathBuf,
        /// File or folder of those to come.
        new: PathBuf,
        /// File of events, one JSON object a line.
        #[arg(long, value_name = "FILE")]
        events: PathBuf,
        /// How the differences are written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the JSON Schema of policy documents.
    Schema,
    /// Check policies and put them into force as a new version: files beside what is in force, a folder instead of it.
    Apply(Apply),
    /// Edit a file in force: what comes of it is checked, compared and put into force as a new version.
    Edit(Edit),
    /// List the versions kept: which is in force, when each came, and after which.
    History {
        /// Folder that keeps the versions.
        #[arg(long, default_value = DEFAULT_FOLDER)]
        folder: PathBuf,
        /// How the versions are written.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Put an earlier version into force again.
    Rollback {
        /// Its number; where left out, the one that was in force before the current.
        number: Option<u64>,
        /// Folder that keeps the versions.
        #[arg(long, default_value = DEFAULT_FOLDER)]
        folder: PathBuf,
    },
}

impl PolicyAction {
    /// Does it. False: policies are wrong, or rows do not hold.
    pub fn run(&self, out: &mut dyn Write, now: jiff::Timestamp) -> anyhow::Result<bool> {
        match self {
            Self::Check { paths, config, output } => {
                judge::check((paths, config.as_deref()), *output, (out, now))
            }
            Self::Test { paths, output } => judge::test(paths, *output, out),
            Self::Explain { paths, fact, unknown, event, at, output } => {
                let given = judge::given(fact, unknown, event.as_deref())?;
                judge::explain(paths, &given, (at.unwrap_or(now), *output), out)
            }
            Self::Replay { events, paths, output } => judge::replay(events, paths, *output, out),
            Self::Diff { old, new, events, output } => {
                judge::diff((old, new), events, *output, out)
            }
            Self::Schema => {
                out.write_all(crate::policy::schema().as_bytes())?;
                Ok(true)
            }
            Self::Apply(apply) => apply.run(out, now),
            Self::Edit(edit) => edit.run(out, now),
            Self::History { folder, output } => versions::history(folder, *output, out),
            Self::Rollback { number, folder } => versions::rollback(*number, folder, (out, now)),
        }
    }
}
