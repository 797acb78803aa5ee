//! Python packages that bring a TLS library of their own come in; an interpreter that has them, kept in the cache, goes out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::run;
use crate::lab::clients::install::{Kit, cached};

/// What they bring, and how its functions are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name of the package and of its module.
    pub name: &'static str,
    /// The pinned version.
    pub version: &'static str,
    /// The TLS library that calls are told to go by: unknown where that of the package and the interpreter's have the same
    /// functions and were found in different ways.
    pub library: &'static str,
    /// How it was found.
    pub resolved_by: &'static str,
    /// The version of HTTP that it agrees on.
    pub protocol: &'static str,
}

/// Every package.
pub const PACKAGES: [Package; 3] = [
    Package {
        name: "curl_cffi",
        version: "0.17.0",
        library: "openssl",
        resolved_by: "symbols",
        protocol: "h2",
    },
    Package {
        name: "pycurl",
        version: "7.49.0",
        library: "openssl",
        resolved_by: "symbols",
        protocol: "h2",
    },
    Package {
        name: "rnet",
        version: "2.4.2",
        library: "unknown",
        resolved_by: "unknown",
        protocol: "h2",
    },
];

/// An interpreter whose modules they are.
pub fn interpreter(kit: &Kit) -> Result<PathBuf> {
    let wanted = PACKAGES.map(|package| format!("{}=={}", package.name, package.version));
    let folder = cached("beside", &wanted.join("\n"), |folder| {
        fs::create_dir_all(folder)?;
        run(Command::new(&kit.python).args(["-m", "venv"]).arg(folder))
            .context("making a virtual environment")?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"]).args(&wanted);
        run(&mut pip).context("installing clients with TLS libraries of their own").map(drop)
    })?;
    Ok(folder.join("bin/python"))
}
