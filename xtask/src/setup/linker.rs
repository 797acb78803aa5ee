//! The compiler's LLVM version comes in; the path of a `bpf-linker` that reads its bit code goes out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::Missing;
use crate::setup::compiler::Core;
use crate::setup::packages::{install, is_available, refresh};
use crate::shell::{cargo, find, output, run, say, step, target};

/// The version that the project is built with.
const VERSION: &str = "0.13.0";

/// LLVM versions that `bpf-linker` 0.13 has a feature for, the preferred one first.
const LLVM_VERSIONS: [u32; 3] = [22, 21, 23];

/// Finds the linker in `target/tools` or `PATH`, or builds it; says whether anything was done.
pub fn ensure(core: &Core, missing: Missing) -> Result<(PathBuf, bool)> {
    let wanted = core.llvm()?;
    let tools = target()?.join("tools");
    let ours = tools.join("bin/bpf-linker");
    if let Some(linker) = [Some(ours.clone()), find("bpf-linker")]
        .into_iter()
        .flatten()
        .find(|linker| fits(linker, wanted))
    {
        return Ok((linker, false));
    }
    let llvm = choose(wanted, missing)?;
    say(&format!("missing: bpf-linker {VERSION} with LLVM {llvm} (links the kernel half)"));
    if missing == Missing::Tell {
        bail!("missing: bpf-linker {VERSION}; what to do: cargo xtask setup (it builds one)");
    }
    let packages = packages_of(llvm);
    let absent: Vec<String> = packages
        .into_iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(name, _)| name)
        .collect();
    install(&absent, missing)?;
    step(&format!("building bpf-linker {VERSION}, a few minutes, once"), || build(llvm, &tools))?;
    if !fits(&ours, wanted) {
        bail!("{} was built and does not run; what to do: run it by hand", ours.display());
    }
    Ok((ours, true))
}

fn choose(wanted: u32, missing: Missing) -> Result<u32> {
    let mut fitting = LLVM_VERSIONS.iter().copied().filter(|version| *version >= wanted);
    let is_here =
        |version: &u32| packages_of(*version).iter().all(|(_, file)| Path::new(file).exists());
    if let Some(version) = fitting.clone().find(is_here) {
        return Ok(version);
    }
    if missing == Missing::Install && rustix::process::geteuid().is_root() {
        refresh()?;
    }
    fitting.find(|version| is_available(&format!("llvm-{version}-dev"))).with_context(|| {
        format!(
            "the compiler has LLVM {wanted}, and this machine's packages have no llvm-N-dev with N \
             of {LLVM_VERSIONS:?} that is as new; what to do: add the release's updates or backports \
             to apt's sources, or put bpf-linker {VERSION} into PATH"
        )
    })
}

/// Packages with a file that each brings.
fn packages_of(llvm: u32) -> [(String, String); 2] {
    [
        (format!("llvm-{llvm}-dev"), format!("/usr/lib/llvm-{llvm}/include/llvm-c/Core.h")),
        (format!("libpolly-{llvm}-dev"), format!("/usr/lib/llvm-{llvm}/lib/libPolly.a")),
    ]
}

fn build(llvm: u32, tools: &Path) -> Result<()> {
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let mut install = cargo();
    install.args([
        "install",
        "bpf-linker",
        "--version",
        VERSION,
        "--force",
        "--no-default-features",
    ]);
    install.arg("--features").arg(format!("llvm-{llvm}")).arg("--root").arg(tools);
    install.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix);
    // The linker is built apart from the project, with the machine's own compiler flags.
    install.env_remove("RUSTFLAGS").env_remove("RUSTC").current_dir(env::temp_dir());
    install.arg("--target-dir").arg(tools.join("build"));
    run(&mut install)?;
    fs::remove_dir_all(tools.join("build")).context("removing what the build left")
}

/// Whether a linker runs, has the right version, and an LLVM that is new enough.
fn fits(linker: &Path, wanted: u32) -> bool {
    let mut version = Command::new(linker);
    let told = output(version.arg("--version").env_remove("LD_LIBRARY_PATH"));
    let is_version = told.is_ok_and(|told| told.trim() == format!("bpf-linker {VERSION}"));
    // A linker without a shared LLVM carries its own, whose version only its builder knows.
    is_version && fs::read(linker).is_ok_and(|file| shared_llvm(&file).is_none_or(|v| v >= wanted))
}

/// The major version in the name of the shared library (`libLLVM.so.22.1`).
fn shared_llvm(file: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"libLLVM.so.";
    let at = file.windows(NAME.len()).position(|window| window == NAME)?;
    let rest = file.get(at.checked_add(NAME.len())?..)?;
    let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).take(4).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_read_from_the_name_of_the_shared_library() {
        assert_eq!(shared_llvm(b"\x7fELF\0libc.so.6\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(shared_llvm(b"\x7fELF\0libc.so.6\0"), None);
        assert_eq!(shared_llvm(b"libLLVM.so."), None);
    }

    #[test]
    fn program_that_is_no_linker_does_not_fit() {
        assert!(!fits(Path::new("/bin/true"), 22));
        assert!(!fits(Path::new("/no-such-file"), 22));
    }
}
