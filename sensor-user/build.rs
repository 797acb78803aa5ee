//! The environment comes in; the path of the kernel half's object file goes out to `include_bytes`.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=TOLLGATE_BPF_OBJECT");
    let architecture = env::var_os("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let built = here.join(format!("../target/bpf/tollgate-{}.o", architecture.display()));
    let object = env::var_os("TOLLGATE_BPF_OBJECT").map_or(built, PathBuf::from);
    if !object.is_file() {
        println!(
            "cargo::error=the kernel half is not built: {} is missing; run `cargo xtask build`",
            object.display()
        );
        return;
    }
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=TOLLGATE_BPF_OBJECT={}", object.display());
}
