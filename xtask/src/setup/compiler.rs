//! The toolchains of this machine come in; the compiler that has a `core` for the BPF target goes out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::Missing;
use crate::setup::packages::{install, is_available, refresh};
use crate::shell::{cargo, find, output, run, say, step};

/// The target of the kernel half.
pub const TARGET: &str = "bpfel-unknown-none";

/// Sources of `core` in a toolchain, which `-Z build-std=core` compiles.
const SOURCES: &str = "lib/rustlib/src/rust/library/core/src/lib.rs";

/// Debian's compiler, and the `core` that Debian has built for the target.
const DEBIAN_COMPILER: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// A compiler that has a `core` for the BPF target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Core {
    /// A toolchain of rustup with the sources of `core`.
    Sources(PathBuf),
    /// Debian's compiler with a `core` that is built already.
    Debian,
}

impl Core {
    /// Cargo, set up for the kernel half.
    pub fn cargo(&self, task: &str) -> Command {
        let mut command = match self {
            Self::Sources(toolchain) => {
                let mut command = Command::new(toolchain.join("bin/cargo"));
                command.arg(task).args(["-Z", "build-std=core"]);
                command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
                command
            }
            Self::Debian => {
                let mut command = cargo();
                command.arg(task);
                command
            }
        };
        // The bootstrap switch lets stable compilers take aya-ebpf's one feature gate.
        command.env("RUSTC", self.compiler()).env("RUSTC_BOOTSTRAP", "1");
        command.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        command.args(["--release", "--target", TARGET]);
        command
    }

    /// The compiler itself.
    pub fn compiler(&self) -> PathBuf {
        match self {
            Self::Sources(toolchain) => toolchain.join("bin/rustc"),
            Self::Debian => DEBIAN_COMPILER.into(),
        }
    }

    /// Major version of the compiler's LLVM: the linker reads its bit code and must not be older.
    pub fn llvm(&self) -> Result<u32> {
        let told = output(Command::new(self.compiler()).arg("-vV").env_remove("LD_LIBRARY_PATH"))?;
        llvm_major(&told).with_context(|| format!("{} names no LLVM", self.compiler().display()))
    }
}

fn llvm_major(told: &str) -> Option<u32> {
    let version = told.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// Finds a compiler or installs one; says whether anything was done.
pub fn ensure(missing: Missing) -> Result<(Core, bool)> {
    if let Some(core) = present() {
        return Ok((core, false));
    }
    say(&format!("missing: a compiler that has `core` for {TARGET}"));
    if find("apt-get").is_some() {
        if missing == Missing::Install && rustix::process::geteuid().is_root() {
            refresh()?;
        }
        if DEBIAN_PACKAGES.iter().all(|name| is_available(name)) {
            install(&DEBIAN_PACKAGES.map(str::to_owned), missing)?;
        } else {
            add_sources(missing)?;
        }
    } else {
        add_sources(missing)?;
    }
    let core = present().context("the installed compiler still has no `core` for the target")?;
    Ok((core, true))
}

/// Gives the toolchain in use the sources of `core`.
fn add_sources(missing: Missing) -> Result<()> {
    let why = "the kernel half is compiled with its own `core`";
    let action = "rustup component add rust-src";
    if find("rustup").is_none() {
        bail!(
            "no compiler for {TARGET}: {why}, this machine's packages have none, and there is no \
             rustup; what to do: install rustup, then run `{action}`"
        );
    }
    if missing == Missing::Tell {
        bail!("missing: rust-src ({why}); what to do: {action}");
    }
    let mut rustup = Command::new("rustup");
    step(action, || run(rustup.args(["component", "add", "rust-src"])))
        .context("what to do: see that rustup reaches its server, or install rustc-web on Debian")
}

fn present() -> Option<Core> {
    let home = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")));
    home.and_then(|home| with_sources(&home.join("toolchains"))).or_else(debian)
}

/// The first toolchain with sources; a nightly one goes before others, where there are several.
fn with_sources(toolchains: &Path) -> Option<Core> {
    let entries = fs::read_dir(toolchains).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter(|folder| folder.join(SOURCES).is_file()).collect();
    found.sort_by_key(|folder| (!is_nightly(folder), folder.clone()));
    found.into_iter().next().map(Core::Sources)
}

fn is_nightly(toolchain: &Path) -> bool {
    toolchain.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly"))
}

fn debian() -> Option<Core> {
    let is_whole = Path::new(DEBIAN_COMPILER).exists() && Path::new(DEBIAN_CORE).is_dir();
    is_whole.then_some(Core::Debian)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_read_from_the_compilers_own_words() {
        let told = "rustc 1.96.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(told), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }

    #[test]
    fn nightly_toolchain_with_sources_goes_before_a_stable_one() {
        let folder = env::temp_dir().join(format!("xtask-core-{}", std::process::id()));
        for name in ["1.95.0-x86_64", "nightly-x86_64", "without-sources"] {
            let toolchain = folder.join(name);
            let file = if name.starts_with("without") { "lib/other" } else { SOURCES };
            fs::create_dir_all(toolchain.join(file).parent().unwrap()).unwrap();
            fs::write(toolchain.join(file), "").unwrap();
        }
        let found = with_sources(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, Some(Core::Sources(folder.join("nightly-x86_64"))));
    }
}
