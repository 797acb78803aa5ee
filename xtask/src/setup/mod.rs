//! A machine as it is comes in; one that can build and run both halves goes out, or a list of what it lacks.

mod compiler;
mod linker;
mod mounts;
mod packages;
mod preflight;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::shell::{print, say};

pub use self::compiler::{Core, TARGET};
pub use self::packages::{BENCH, BUILD, CLIPPY, KERNEL, Package, TEST};

/// What builds the kernel half.
pub struct Tools {
    /// The compiler that has a `core` for the BPF target.
    pub core: Core,
    /// The linker.
    pub linker: PathBuf,
}

/// Whether what is missing is installed or told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Install it.
    Install,
    /// Print it and fail.
    Tell,
}

/// Prepares the machine and the tools, and says so. Each part is looked at, also behind one that lacks something.
pub fn run(wanted: &[Package], missing: Missing) -> Result<()> {
    let start = Instant::now();
    let parts =
        [machine(missing), packages::ensure(BUILD, missing), packages::ensure(wanted, missing), {
            compiler::ensure(missing)
                .and_then(|(core, did)| Ok(linker::ensure(&core, missing)?.1 | did))
        }];
    let mut did = false;
    let mut failed = 0_usize;
    for part in parts {
        match part {
            Ok(done) => did |= done,
            Err(error) => {
                say(&format!("{error:#}"));
                failed = failed.saturating_add(1);
            }
        }
    }
    if failed > 0 {
        bail!("setup is not complete: {failed} part(s), told above");
    }
    let seconds = start.elapsed().as_secs_f32();
    print(&if did {
        format!("setup: done in {seconds:.1} s")
    } else {
        format!("setup: nothing to do ({seconds:.2} s)")
    });
    Ok(())
}

/// Checks what the sensor needs to run here and mounts what is missing; says whether anything was done.
pub fn machine(missing: Missing) -> Result<bool> {
    let problems = preflight::survey();
    for problem in &problems {
        say(&problem.to_string());
    }
    if !problems.is_empty() {
        bail!("this machine cannot run the sensor: {} problem(s), told above", problems.len());
    }
    mounts::mount_missing(missing)
}

/// Finds or installs what builds both halves, and the packages given.
pub fn tools(wanted: &[Package], missing: Missing) -> Result<Tools> {
    packages::ensure(BUILD, missing)?;
    packages::ensure(wanted, missing)?;
    let (core, _) = compiler::ensure(missing)?;
    let (linker, _) = linker::ensure(&core, missing)?;
    Ok(Tools { core, linker })
}
