//! Known good messages come in; the first inputs of every target go out into `corpus/`, named by what they are.
//!
//! Run it by hand: `cargo run --package tollgate-fuzz --example seeds`. It changes no input that is there.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::decimal_bitwise_operands,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::unused_result_ok,
    reason = "it is run by hand, on texts of its own"
)]

use std::fs;
use std::path::Path;

mod files;
mod grpc;
mod protocols;
mod providers;
mod websocket;

/// Target, name, bytes.
type Seed = (&'static str, &'static str, Vec<u8>);

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let all = [
        protocols::seeds(),
        websocket::seeds(),
        providers::seeds(),
        grpc::seeds(),
        files::seeds()?,
    ]
    .concat();
    for (target, name, bytes) in all {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let file = folder.join(name);
        if !file.exists() {
            fs::write(file, bytes)?;
        }
    }
    Ok(())
}
