//! A table of packages comes in; those whose files are missing are installed with apt, or told.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::setup::Missing;
use crate::shell::{find, output, run, say, step};

/// How a package is known to be there, whoever put it there.
#[derive(Clone, Copy)]
pub enum Sign {
    /// A program in `PATH`.
    Program(&'static str),
    /// A file or folder.
    File(&'static str),
    /// A command that ends well.
    Works(&'static [&'static str]),
}

/// A package of Debian and Ubuntu.
#[derive(Clone, Copy)]
pub struct Package {
    name: &'static str,
    sign: Sign,
    why: &'static str,
}

const fn package(name: &'static str, sign: Sign, why: &'static str) -> Package {
    Package { name, sign, why }
}

/// What every build needs.
pub const BUILD: &[Package] = &[
    package("build-essential", Sign::Program("cc"), "links programs, compiles zstd"),
    package("g++", Sign::Program("c++"), "links LLVM into bpf-linker"),
    package("zlib1g-dev", Sign::File("/usr/include/zlib.h"), "LLVM is linked with it"),
    package("libzstd-dev", Sign::File("/usr/include/zstd.h"), "LLVM is linked with it"),
];

/// What the tests and the demo need.
pub const TEST: &[Package] = &[
    package("iproute2", Sign::Program("ip"), "makes the lab's network namespaces"),
    package("openssl", Sign::Program("openssl"), "is one of the lab's clients"),
    package("curl", Sign::Program("curl"), "is one of the lab's clients"),
    package("libssl-dev", Sign::File("/usr/include/openssl/ssl.h"), "the load generator uses it"),
    package("python3", Sign::File("/usr/bin/python3"), "runs the Python clients"),
    package(
        "python3-venv",
        Sign::Works(&["/usr/bin/python3", "-c", "import ensurepip"]),
        "holds the Python clients",
    ),
    package("wget", Sign::Program("wget"), "is the lab's client with GnuTLS"),
    package(
        "libcurl3-gnutls",
        Sign::Works(&[
            "/usr/bin/python3",
            "-c",
            "import ctypes; ctypes.CDLL('libcurl-gnutls.so.4')",
        ]),
        "is the lab's client with GnuTLS and HTTP/2",
    ),
    package("libnss3-tools", Sign::Program("tstclnt"), "is the lab's client with NSS"),
    package(
        "python3-nss",
        Sign::Works(&["/usr/bin/python3", "-c", "import nss.ssl"]),
        "is the lab's client with NSS",
    ),
    package("runc", Sign::Program("runc"), "runs a client in a container"),
    package("containerd", Sign::Program("containerd"), "makes pods"),
    package("docker.io", Sign::Program("dockerd"), "runs a client in a container"),
    package("podman", Sign::Program("podman"), "runs a client in a container"),
    package("nodejs", Sign::Program("node"), "runs the Node clients"),
    package("npm", Sign::Program("npm"), "installs the Node clients"),
];

/// What the kernel matrix needs.
pub const KERNEL: &[Package] = &[
    package("qemu-system-x86", Sign::Program("qemu-system-x86_64"), "boots the kernels"),
    package("busybox-static", Sign::Program("busybox"), "is the shell of the guests"),
    package("openssl", Sign::Program("openssl"), "makes the guests' TLS exchange"),
    package(
        "libssl-dev",
        Sign::File("/usr/include/openssl/ssl.h"),
        "the test of preemption uses it",
    ),
];

/// What the benchmarks of the whole sensor need.
pub const BENCH: &[Package] = &[
    package("iproute2", Sign::Program("ip"), "makes the benchmark's network namespace"),
    package("openssl", Sign::Program("openssl"), "makes the certificate of the server"),
    package("libssl-dev", Sign::File("/usr/include/openssl/ssl.h"), "the load generators use it"),
    package("nginx", Sign::Program("nginx"), "is the TLS server that is saturated"),
    package("wrk", Sign::Program("wrk"), "saturates the TLS server"),
    package(
        "bpftrace",
        Sign::Program("bpftrace"),
        "is the tracer that the sensor is compared with",
    ),
];

/// What lints the kernel half where Debian's compiler builds it.
pub const CLIPPY: &[Package] =
    &[package("rust-web-clippy", Sign::File("/usr/bin/clippy-driver"), "lints the kernel half")];

/// Installs those packages that are missing, or tells them; says whether anything was done.
pub fn ensure(wanted: &[Package], missing: Missing) -> Result<bool> {
    let absent: Vec<_> = wanted.iter().filter(|package| !is_present(package.sign)).collect();
    for package in &absent {
        say(&format!("missing: {} ({})", package.name, package.why));
    }
    let names: Vec<_> = absent.iter().map(|package| package.name.to_owned()).collect();
    install(&names, missing)
}

/// Installs packages by name, or tells the command that would; says whether anything was done.
pub fn install(names: &[String], missing: Missing) -> Result<bool> {
    if names.is_empty() {
        return Ok(false);
    }
    let list = names.join(" ");
    if find("apt-get").is_none() {
        bail!(
            "missing: {list} (Debian's names); this machine has no apt: install them its own way"
        );
    }
    if missing == Missing::Tell {
        bail!("missing: {list}; what to do: apt-get install --no-install-recommends {list}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {list}; what to do: sudo apt-get install --no-install-recommends {list}");
    }
    refresh()?;
    let mut apt = apt_get();
    apt.args(["install", "--yes", "--no-install-recommends"]).args(names);
    step(&format!("installing {list}"), || run(&mut apt))?;
    Ok(true)
}

/// Whether apt could install a package now.
pub fn is_available(name: &str) -> bool {
    let told = output(Command::new("apt-cache").args(["policy", name])).unwrap_or_default();
    told.lines().any(|line| {
        let candidate = line.trim().strip_prefix("Candidate: ");
        candidate.is_some_and(|version| version != "(none)")
    })
}

/// Fetches the lists of packages, once a run.
pub fn refresh() -> Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    step("fetching the lists of packages", || run(apt_get().arg("update")))
        .context("what to do: see that /etc/apt names a mirror that this machine reaches")
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet=2").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    // A package database that another apt holds is waited for.
    apt.args(["-o", "DPkg::Lock::Timeout=300"]);
    apt
}

fn is_present(sign: Sign) -> bool {
    match sign {
        Sign::Program(name) => find(name).is_some(),
        Sign::File(path) => Path::new(path).exists(),
        Sign::Works(words) => words.split_first().is_some_and(|(program, arguments)| {
            output(Command::new(program).args(arguments)).is_ok()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_sign_is_found_and_missed() {
        assert!(is_present(Sign::Program("sh")) && !is_present(Sign::Program("no-such-program")));
        assert!(is_present(Sign::File("/proc")) && !is_present(Sign::File("/no-such-folder")));
        assert!(is_present(Sign::Works(&["true"])) && !is_present(Sign::Works(&["false"])));
    }

    #[test]
    fn missing_package_is_told_with_the_command_that_installs_it() {
        let absent = [package("some-package", Sign::File("/no-such-folder"), "is a test")];
        let told = ensure(&absent, Missing::Tell).unwrap_err().to_string();
        assert!(told.contains("some-package"), "{told}");
    }

    #[test]
    fn nothing_is_done_where_everything_is_there() {
        assert!(
            !ensure(&[package("sh", Sign::Program("sh"), "is a test")], Missing::Tell).unwrap()
        );
    }
}
