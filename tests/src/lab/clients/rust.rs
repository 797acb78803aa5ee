//! The source of a Rust client comes in; its executable goes out, with symbols and without, built once a machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::harness::run;
use crate::lab::clients::install::{cache_folder, find, stamped};

/// The client's package, carried in the harness so that it works where the source is not.
const SOURCES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../../clients/rust/Cargo.toml")),
    ("Cargo.lock", include_str!("../../../clients/rust/Cargo.lock")),
    ("src/main.rs", include_str!("../../../clients/rust/src/main.rs")),
    ("src/sdk.rs", include_str!("../../../clients/rust/src/sdk.rs")),
];

/// What rustls encrypts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// aws-lc.
    AwsLc,
    /// ring.
    Ring,
}

impl Provider {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::AwsLc, Self::Ring];

    /// Its name, in titles and folders.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AwsLc => "aws-lc",
            Self::Ring => "ring",
        }
    }

    /// The features of the client's package; the SDK, which takes long to build, is in one of them.
    fn features(self) -> &'static str {
        match self {
            Self::AwsLc => "aws-lc,sdk",
            Self::Ring => "ring",
        }
    }
}

/// A client made of reqwest, on rustls.
#[derive(Clone, Debug)]
pub struct RustClient {
    /// As cargo makes it: with symbols.
    pub whole: PathBuf,
    /// Without symbols, as distributed programs often are.
    pub bare: PathBuf,
}

impl RustClient {
    /// Builds the clients unless this machine has; only tests that need one pay for it.
    pub fn built(provider: Provider) -> Result<Self> {
        let cache = cache_folder();
        fs::create_dir_all(&cache).context("making the cache folder")?;
        let lock = File::create(cache.join("rust.lock")).context("making the lock of the build")?;
        // Held until the file is closed, at the end of this function.
        flock(&lock, FlockOperation::LockExclusive).context("locking the build")?;
        let folder = cache.join("rust");
        stamped(&folder, &SOURCES.map(|(_, text)| text).concat(), || build(&folder))?;
        Ok(Self::within(&folder, provider))
    }

    fn within(folder: &Path, provider: Provider) -> Self {
        let whole = folder.join(provider.as_str()).join("lab-client");
        let bare = whole.with_file_name("lab-client-bare");
        Self { whole, bare }
    }
}

/// The version of a crate that the client is built with.
pub(super) fn locked(name: &str) -> String {
    let [_, (_, lock), ..] = SOURCES;
    let told = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
    let version = told.and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("unknown").to_owned()
}

/// Builds every client: most of what they are made of is the same, and is compiled once.
fn build(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("src")).context("making the client's folder")?;
    for (name, text) in SOURCES {
        fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    let target = folder.join("target");
    for provider in Provider::ALL {
        let mut cargo = Command::new(find("cargo")?);
        cargo.current_dir(folder).env("CARGO_TARGET_DIR", &target);
        run(cargo
            .args(["build", "--release", "--locked", "--quiet", "--features"])
            .arg(provider.features()))
        .with_context(|| format!("building the client on {}", provider.as_str()))?;
        let client = RustClient::within(folder, provider);
        let (own, built) =
            (folder.join(provider.as_str()), target.join("release").join("lab-client"));
        fs::create_dir_all(&own).with_context(|| format!("making {}", own.display()))?;
        let mut strip = Command::new("strip");
        run(strip.arg("-o").arg(&client.bare).arg(&built)).context("stripping it")?;
        fs::rename(&built, &client.whole).context("putting the client in place")?;
    }
    // What was needed to build them takes a thousand times their room.
    fs::remove_dir_all(target).context("removing what the build left")
}
