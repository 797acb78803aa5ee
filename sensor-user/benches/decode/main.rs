//! Plaintext of AI calls comes in; how fast each stage takes it, beside a copy of the same bytes, goes out.
//!
//! `cargo bench --bench decode`. Each group holds `copy`, which only copies the bytes, and the stage: their ratio within
//! one run says more than a figure alone. Before that, allocations are counted, and the run fails where a stage that
//! must not allocate does.

use std::hint::black_box;
use std::time::Duration;

use anyhow::ensure;
use criterion::{Criterion, Throughput};

mod bodies;
mod calls;
mod headers;

/// Bytes of one TLS record, as most libraries hand them out.
const PIECE_BYTES: usize = 16 * 1024;
/// Bytes given to a stage in one iteration.
const ROUND_BYTES: usize = 1024 * 1024;
/// Rounds before allocations are counted: buffers have grown by then.
const ROUNDS_WARM: usize = 4;

/// A stage under load.
struct Load {
    name: &'static str,
    /// Bytes taken in one round.
    bytes: u64,
    /// Chunks taken in one round; of a whole path, calls.
    chunks: u64,
    /// What a chunk is called.
    unit: &'static str,
    /// The bytes of one round, for the copy.
    plain: Vec<Vec<u8>>,
    /// Whether a chunk may not cost an allocation.
    must_not_allocate: bool,
    /// Takes one round.
    round: Box<dyn FnMut()>,
}

/// The pieces of one round.
fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect()
}

/// A text repeated until it fills a round.
fn repeated(text: &str) -> Vec<u8> {
    text.bytes().cycle().take(ROUND_BYTES).collect()
}

fn length(bytes: &[Vec<u8>]) -> u64 {
    bytes.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(0)).sum()
}

/// Counts the allocations of a round whose buffers have grown.
#[expect(clippy::print_stdout, reason = "the result, which `cargo xtask bench` reads")]
fn allocations(load: &mut Load) -> anyhow::Result<()> {
    (0..ROUNDS_WARM).for_each(|_| (load.round)());
    let counted = allocation_counter::measure(|| (load.round)()).count_total;
    println!("allocations {} {counted} in {} {}", load.name, load.chunks, load.unit);
    let name = load.name;
    ensure!(counted == 0 || !load.must_not_allocate, "{name}: {counted} allocations in a round");
    Ok(())
}

/// Copies a piece as `memcpy` would; the copy is as long as the longest piece.
fn copy_over(copy: &mut [u8], piece: &[u8]) {
    if let Some(target) = copy.get_mut(..piece.len()) {
        target.copy_from_slice(black_box(piece));
        black_box(target);
    }
}

fn measure(criterion: &mut Criterion, load: &mut Load) {
    let mut group = criterion.benchmark_group(load.name);
    group.throughput(Throughput::Bytes(load.bytes));
    let mut copy = vec![0; load.plain.iter().map(Vec::len).max().unwrap_or(0)];
    let plain = &load.plain;
    group.bench_function("copy", |bencher| {
        bencher.iter(|| plain.iter().for_each(|piece| copy_over(&mut copy, piece)));
    });
    let round = &mut load.round;
    group.bench_function("stage", |bencher| bencher.iter(&mut *round));
    group.finish();
}

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    let mut loads = [bodies::loads(), headers::loads(), calls::loads()?]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    for load in &mut loads {
        allocations(load)?;
    }
    for load in &mut loads {
        measure(&mut criterion, load);
    }
    criterion.final_summary();
    Ok(())
}
