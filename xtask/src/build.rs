//! Sources come in; object files of the kernel half for each architecture and the `tollgate` program go out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::Tools;
use crate::shell::{cargo, root, run, step, target};

/// Architectures whose function arguments the probes can read.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Programs of the kernel half, with the names of their object files: one observes, the other enforces.
const OBJECTS: [(&str, &str); 2] = [("tollgate-bpf", "tollgate"), ("tollgate-gate", "gate")];

/// Which optimisation a program is built with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Debug,
    /// Quick to run.
    Release,
}

/// Builds the kernel half for every architecture.
pub fn kernel_half(tools: &Tools) -> Result<()> {
    step("building the kernel half", || {
        ARCHITECTURES.iter().try_for_each(|architecture| kernel_object(tools, architecture))
    })
}

fn kernel_object(tools: &Tools, architecture: &str) -> Result<()> {
    // One folder: what runs on this machine at build time is the same for each.
    let folder = target()?.join("bpf-build");
    run(kernel_cargo(tools, "build", architecture)?.arg("--target-dir").arg(&folder))?;
    OBJECTS.iter().try_for_each(|(program, object)| {
        let built = folder.join(crate::setup::TARGET).join("release").join(program);
        copy_changed(&built, &target()?.join("bpf").join(format!("{object}-{architecture}.o")))
    })
}

/// Cargo with a task for the kernel half, as the eBPF target needs it.
pub fn kernel_cargo(tools: &Tools, task: &str, architecture: &str) -> Result<Command> {
    let mut command = tools.core.cargo(task);
    let flags = [
        format!("-Clinker={}", tools.linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
    ];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS");
    command.current_dir(root()?.join("sensor-ebpf"));
    Ok(command)
}

/// Leaves an unchanged file alone, so that the agent is not built again.
fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = to.parent().context("an object file stands in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
}

/// Builds one program of the workspace and returns its path.
pub fn program(package: &str, name: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.current_dir(root()?).args(["build", "--package", package, "--bin", name]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    step(&format!("building {name}"), || run(&mut command))?;
    let folder = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).map_or_else(target, Ok)?;
    let profile = if profile == Profile::Release { "release" } else { "debug" };
    Ok(folder.join(profile).join(name))
}

/// Builds both halves and returns the path of `tollgate`.
pub fn all(tools: &Tools, profile: Profile) -> Result<PathBuf> {
    kernel_half(tools)?;
    program("sensor-user", "tollgate", profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_object_keeps_its_time_and_a_changed_one_is_replaced() {
        let folder = env::temp_dir().join(format!("xtask-build-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("deep/to"));
        fs::create_dir_all(&folder).unwrap();
        let time = |file: &Path| fs::metadata(file).unwrap().modified().unwrap();
        fs::write(&from, "one").unwrap();
        copy_changed(&from, &to).unwrap();
        let before = time(&to);
        fs::File::options().write(true).open(&from).unwrap().set_modified(before).unwrap();
        copy_changed(&from, &to).unwrap();
        let same = time(&to);
        fs::write(&from, "two").unwrap();
        copy_changed(&from, &to).unwrap();
        let text = fs::read_to_string(&to).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((before, text.as_str()), (same, "two"));
    }
}
