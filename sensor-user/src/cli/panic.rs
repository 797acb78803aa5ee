//! The options of `tollgate panic` come in, checked.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;

/// Longest panic: a week. Who needs more writes a policy.
const SECONDS_MAX: u64 = 7 * 24 * 3600;

/// Options of `tollgate panic`.
#[derive(Clone, Debug, Args)]
pub struct PanicCommand {
    /// Configuration file; it says where the gate is pinned.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which of the three.
    #[command(subcommand)]
    pub action: PanicAction,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum PanicAction {
    /// Stop AI calls in the kernel, new and open ones, from now on; it ends by itself.
    On {
        /// What is stopped.
        #[command(flatten)]
        scope: PanicScope,
        /// Seconds until it ends by itself.
        #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
        seconds: u64,
        /// Why; shown in events and in the status.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Lift a panic.
    Off {
        /// Which one.
        #[command(flatten)]
        scope: PanicScope,
        /// Lift every panic.
        #[arg(long)]
        all: bool,
    },
    /// Tell which panics are on.
    Status,
}

/// What a panic is about: everything, unless one of these is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[group(multiple = false)]
pub struct PanicScope {
    /// One provider, as events name it ("openai", "aws.bedrock"), or one row of the catalogue by its id.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// One key, by its fingerprint; needs an agent that enforces, and holds for what it can read.
    #[arg(long, value_name = "FINGERPRINT")]
    pub key: Option<String>,
    /// One model, by its whole name; as with a key.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// One subject of the orders, by its name.
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
}
