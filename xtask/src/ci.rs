//! The source tree comes in; which checks hold goes out: format, house rules, lints of both halves, documents, tests.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::build::{kernel_cargo, kernel_half};
use crate::setup::{self, CLIPPY, Core, Missing, TEST, Tools};
use crate::shell::{cargo, print, root, run, say};
use crate::{test, tidy};

type Check<'a> = (&'a str, Box<dyn Fn() -> Result<()> + 'a>);

/// Runs every check, also after a failed one, and says at the end which failed.
pub fn all(with_tests: bool) -> Result<()> {
    let tools = prepare()?;
    let mut checks: Vec<Check<'_>> = vec![
        ("format", Box::new(format)),
        ("tidy", Box::new(|| tidy::run(&[]))),
        ("clippy", Box::new(lint)),
        ("clippy of the kernel half", Box::new(|| lint_kernel_half(&tools))),
        ("documents", Box::new(documents)),
    ];
    if with_tests {
        checks.push(("tests", Box::new(|| test::run(Missing::Install, None))));
    }
    let mut failed = Vec::new();
    for (name, check) in &checks {
        say(name);
        let start = Instant::now();
        let result = check();
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(()) => say(&format!("{name}: holds ({seconds:.1} s)")),
            Err(error) => {
                say(&format!("{name}: FAILED ({seconds:.1} s): {error:#}"));
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        print(&format!("ci: {} checks hold", checks.len()));
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

/// Linting compiles the agent, which holds the object file of the kernel half.
fn prepare() -> Result<Tools> {
    let tools = setup::tools(TEST, Missing::Install)?;
    if tools.core == Core::Debian {
        setup::tools(CLIPPY, Missing::Install)?;
    }
    kernel_half(&tools)?;
    Ok(tools)
}

fn format() -> Result<()> {
    run(cargo().current_dir(root()?).args(["fmt", "--all", "--check"]))?;
    run(cargo().current_dir(root()?.join("sensor-ebpf")).args(["fmt", "--check"]))
}

fn lint() -> Result<()> {
    let mut command = cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    run(command.current_dir(root()?))
}

fn lint_kernel_half(tools: &Tools) -> Result<()> {
    let folder = crate::shell::target()?.join("bpf-build");
    let task = if tools.core == Core::Debian { "check" } else { "clippy" };
    let mut command = kernel_cargo(tools, task, "x86_64")?;
    command.arg("--target-dir").arg(folder);
    if tools.core == Core::Debian {
        // Debian's clippy belongs to Debian's compiler, which cargo's own `clippy` does not know.
        command.env("RUSTC_WORKSPACE_WRAPPER", "/usr/bin/clippy-driver");
        command.env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    } else {
        command.args(["--", "-D", "warnings"]);
    }
    run(&mut command)
}

fn documents() -> Result<()> {
    let mut command = cargo();
    command.args(["doc", "--workspace", "--no-deps", "--quiet"]);
    run(command.current_dir(root()?).env("RUSTDOCFLAGS", "-D warnings"))
}
