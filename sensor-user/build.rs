//! The environment comes in; the paths of the kernel half's object files go out to `include_bytes`.

use std::env;
use std::path::PathBuf;

/// Variables that hold the paths, with the names of the object files.
const OBJECTS: [(&str, &str); 2] =
    [("TOLLGATE_BPF_OBJECT", "tollgate"), ("TOLLGATE_GATE_OBJECT", "gate")];

fn main() {
    let architecture = env::var_os("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    for (variable, name) in OBJECTS {
        println!("cargo::rerun-if-env-changed={variable}");
        let built = here.join(format!("../target/bpf/{name}-{}.o", architecture.display()));
        let object = env::var_os(variable).map_or(built, PathBuf::from);
        if !object.is_file() {
            println!(
                "cargo::error=the kernel half is not built: {} is missing; run `cargo xtask build`",
                object.display()
            );
            return;
        }
        println!("cargo::rerun-if-changed={}", object.display());
        println!("cargo::rustc-env={variable}={}", object.display());
    }
}
