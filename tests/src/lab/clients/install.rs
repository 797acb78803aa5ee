//! Pinned lists of packages come in; installed clients in a cache folder, shared by all labs of a machine, go out.

use std::env::var_os;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::harness::{run, run_args};
use crate::lab::provider::usage::fnv1a;

/// Debian packages that the lab needs.
pub const DEBIAN_PACKAGES: &[&str] = &[
    "iproute2",
    "curl",
    "python3",
    "python3-venv",
    "gcc",
    "binutils",
    "libc6-dev",
    "libssl-dev",
    "ca-certificates",
    "wget",
    "libcurl3-gnutls",
    "runc",
    "podman",
    "containerd",
    "docker.io",
];

/// Debian packages for machines without `node` and `npm`; beside another vendor's `nodejs` they cannot be installed.
pub const DEBIAN_NODE_PACKAGES: &[&str] = &["nodejs", "npm"];

/// Python packages: the SDKs and the HTTP libraries that programs without an SDK use.
pub(super) const PYTHON_PACKAGES: &[&str] = &[
    "openai==3.54.0",
    "anthropic==2.12.0",
    "langchain-openai==1.7.3",
    "httpx[http2,brotli,zstd]==0.28.1",
    "requests==2.34.2",
    "aiohttp==3.14.5",
    "xai-sdk==1.21.0",
];

/// npm packages: the last versions that run on Node 20.
pub(super) const NODE_PACKAGES: &[&str] =
    &["openai@6.49.0", "@anthropic-ai/sdk@1.12.0", "undici@7.30.2"];

/// Source of the load generator.
const LOAD_SOURCE: &str = include_str!("../../../clients/load.c");

/// The installed clients.
#[derive(Clone, Debug)]
pub struct Kit {
    /// Interpreter of the virtual environment.
    pub python: PathBuf,
    /// Node.
    pub node: PathBuf,
    /// Folder in which Node finds its packages.
    pub node_folder: PathBuf,
    /// The load generator.
    pub load: PathBuf,
}

impl Kit {
    /// Installs what is missing into the usual cache folder; one process of the machine at a time.
    pub fn install() -> Result<Self> {
        Self::install_into(&cache_folder())
    }

    /// Installs what is missing into a folder.
    pub fn install_into(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).context("making the cache folder")?;
        let lock = File::create(cache.join("lock")).context("making the lock of the cache")?;
        // Held until the file is closed, at the end of this function.
        flock(&lock, FlockOperation::LockExclusive).context("locking the cache")?;
        let (python, node) = (cache.join("python"), cache.join("node"));
        stamped(&python, &PYTHON_PACKAGES.join("\n"), || install_python(&python))?;
        stamped(&node, &NODE_PACKAGES.join("\n"), || install_node(&node))?;
        let load = cache.join(format!("load-{:016x}", fnv1a(LOAD_SOURCE.bytes())));
        if !load.exists() {
            compile_load(&load)?;
        }
        Ok(Self { python: python.join("bin/python"), node: find("node")?, node_folder: node, load })
    }
}

/// A part of the cache folder that one process of the machine fills at a time.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    // Held until the cache is dropped.
    _lock: File,
}

impl Cache {
    /// Makes the part where it is missing, and waits until nobody else fills it.
    pub fn lock(part: &str) -> Result<Self> {
        let folder = cache_folder().join(part);
        fs::create_dir_all(&folder).context("making a part of the cache")?;
        let lock = File::create(folder.join("lock")).context("making the lock of the cache")?;
        flock(&lock, FlockOperation::LockExclusive).context("locking the cache")?;
        Ok(Self { folder, _lock: lock })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

pub(super) fn cache_folder() -> PathBuf {
    let cache = var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("tollgate-lab")
}

/// Returns a folder of the cache in which `install` has put what `wanted` says; one process of the machine at a time.
pub fn cached(
    name: &str,
    wanted: &str,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = cache_folder();
    fs::create_dir_all(&cache).context("making the cache folder")?;
    let lock = File::create(cache.join("lock")).context("making the lock of the cache")?;
    flock(&lock, FlockOperation::LockExclusive).context("locking the cache")?;
    let folder = cache.join(name);
    stamped(&folder, wanted, || install(&folder))?;
    Ok(folder)
}

/// Runs `install` unless the folder's stamp says that exactly this was installed before.
pub(super) fn stamped(
    folder: &Path,
    wanted: &str,
    install: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = folder.join("tollgate-stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).context("removing an unfinished installation")?;
    }
    progress(&format!("installing clients into {}", folder.display()));
    install()?;
    fs::write(&stamp, wanted).context("stamping the installation")
}

fn install_python(folder: &Path) -> Result<()> {
    // The distribution's interpreter uses the distribution's libssl; another one in PATH may not.
    let system = Path::new("/usr/bin/python3");
    let interpreter = if system.exists() { system.to_owned() } else { find("python3")? };
    run(Command::new(interpreter).args(["-m", "venv"]).arg(folder))
        .context("making a virtual environment (Debian: python3-venv)")?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"]).args(PYTHON_PACKAGES);
    run(&mut pip).context("installing Python clients").map(drop)
}

fn install_node(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).context("making the folder for Node's packages")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(folder);
    run(npm.args(NODE_PACKAGES)).context("installing Node clients").map(drop)
}

fn compile_load(target: &Path) -> Result<()> {
    progress("compiling the load generator");
    let folder = crate::harness::temp_folder("load")?;
    let (source, binary) = (folder.path().join("load.c"), target.with_extension("new"));
    fs::write(&source, LOAD_SOURCE).context("writing the load generator's source")?;
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").arg("-o").arg(&binary).arg(&source).args([
        "-lssl",
        "-lcrypto",
        "-lpthread",
    ]);
    run(&mut compiler).context("compiling the load generator (Debian: gcc, libssl-dev)")?;
    // Renamed when whole, so that an interrupted build is not taken for a finished one.
    fs::rename(&binary, target).context("putting the load generator in place")
}

pub(super) fn find(program: &str) -> Result<PathBuf> {
    let found = run_args("sh", ["-c", "command -v \"$0\"", program]);
    let found = found.with_context(|| format!("looking for {program}"))?;
    Ok(PathBuf::from(found.trim()))
}

/// Tells a waiting person what takes so long.
fn progress(text: &str) {
    // A closed standard error is no reason to stop.
    drop(writeln!(std::io::stderr(), "lab: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_done_once_and_again_when_the_list_changes() {
        let cache = crate::harness::temp_folder("stamp").unwrap();
        let folder = cache.path().join("kit");
        let mut runs = 0;
        for wanted in ["a==1", "a==1", "a==2"] {
            stamped(&folder, wanted, || {
                runs += 1;
                Ok(fs::create_dir_all(&folder)?)
            })
            .unwrap();
        }
        assert_eq!(runs, 2);
    }
}
