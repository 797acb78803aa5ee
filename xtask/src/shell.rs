//! A program and its arguments come in; its output, or a sentence that says what failed, goes out.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// The root of the workspace.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize();
    let here = here.context("finding the source tree that this xtask was built from")?;
    Ok(here.parent().context("xtask stands in no workspace")?.to_owned())
}

/// Where built files go: `target` in the workspace.
pub fn target() -> Result<PathBuf> {
    Ok(root()?.join("target"))
}

/// Cargo, as it started this program.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` sets for this program is no business of the next one.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    command
}

/// Says on standard error what is being done.
#[expect(clippy::print_stderr, reason = "progress for the person who waits")]
pub fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// Prints a line of a task's result.
#[expect(clippy::print_stdout, reason = "the result of a task")]
pub fn print(text: &str) {
    println!("{text}");
}

/// Runs a program whose output the person sees.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name_of(command);
    let status = command.status().with_context(|| format!("starting `{name}`"))?;
    ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}

/// Runs a program and returns its standard output; its standard error is told where it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name_of(command);
    let done = command.stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("starting `{name}`"))?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        bail!("`{name}` failed ({}): {}", done.status, errors.trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("reading the output of `{name}`"))
}

/// Does a step under its name and says how long it took.
pub fn step<T>(name: &str, task: impl FnOnce() -> Result<T>) -> Result<T> {
    say(name);
    let start = Instant::now();
    let result = task().with_context(|| name.to_owned())?;
    say(&format!("{name}: done in {:.1} s", start.elapsed().as_secs_f32()));
    Ok(result)
}

/// The file that a shell would run for a name.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

fn name_of(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_command_and_its_errors() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("broken"), "{text}");
    }

    #[test]
    fn root_is_the_folder_of_the_workspace() {
        assert!(root().unwrap().join("xtask/src/shell.rs").is_file());
    }

    #[test]
    fn shell_is_found_and_nonsense_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-of-any-kind").is_none());
    }
}
