//! A process comes in; the time, memory and descriptors that it uses go out, as `/proc` tells.

use std::fs;

use anyhow::{Context, Result};

/// Time that a process has used, in seconds of one processor (proc(5), fields 14 and 15).
pub fn processor_seconds(id: u32) -> Result<f64> {
    let text =
        fs::read_to_string(format!("/proc/{id}/stat")).context("reading the time of a process")?;
    ticks(&text).map(|ticks| ticks / ticks_per_second()).context("no times in /proc/PID/stat")
}

#[expect(clippy::cast_precision_loss, reason = "ticks of some minutes are far below 2^52")]
fn ticks(stat: &str) -> Option<f64> {
    // The name may hold blanks and brackets; nothing behind it does.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()?.saturating_add(next()?) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "there are 100 to 1024 ticks in a second")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Memory of a process, in KiB (proc(5), `status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at most so far.
    pub most: u64,
    /// Of the resident: memory of its own.
    pub own: u64,
}

/// Memory of a process.
pub fn memory(id: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))
        .context("reading the memory of a process")?;
    memory_of(&text).context("no memory in /proc/PID/status")
}

fn memory_of(status: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(Memory { resident: field("VmRSS:")?, most: field("VmHWM:")?, own: field("RssAnon:")? })
}

/// Times that the threads of a process went to sleep by themselves: each ends with a wake-up.
pub fn wake_ups(id: u32) -> Result<u64> {
    let threads =
        fs::read_dir(format!("/proc/{id}/task")).context("reading the threads of a process")?;
    let of = |status: String| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse().ok()
    };
    // A thread that ends meanwhile wakes up no more.
    let counts = threads
        .flatten()
        .filter_map(|thread| of(fs::read_to_string(thread.path().join("status")).ok()?));
    Ok(counts.sum())
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// BPF maps among them.
    pub maps: usize,
    /// BPF links among them: probes and hooks.
    pub links: usize,
    /// Kernel memory that the maps account for, in bytes; maps held twice count once.
    pub map_bytes: u64,
}

/// Counts the descriptors of a process, and the BPF objects among them (bpf(2), `fdinfo`).
pub fn held(id: u32) -> Result<Held> {
    let mut held = Held::default();
    let mut seen = Vec::new();
    let folder = format!("/proc/{id}/fdinfo");
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
        };
        held.descriptors = held.descriptors.saturating_add(1);
        held.links = held.links.saturating_add(usize::from(field("link_id:").is_some()));
        let Some(map) = field("map_id:") else { continue };
        if !seen.contains(&map) {
            seen.push(map);
            held.maps = held.maps.saturating_add(1);
            held.map_bytes = held.map_bytes.saturating_add(field("memlock:").unwrap_or(0));
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert!(ticks(stat).is_some_and(|ticks| (ticks - 300.0).abs() < 1e-9));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn memory_is_read_from_its_fields() {
        let status = "VmHWM:\t  900 kB\nVmRSS:\t  800 kB\nRssAnon:\t  300 kB\nRssFile:\t 500 kB\n";
        assert_eq!(memory_of(status), Some(Memory { resident: 800, most: 900, own: 300 }));
        assert_eq!(memory_of("VmRSS: 1 kB"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let id = std::process::id();
        let memory = memory(id).unwrap();
        assert!(
            memory.resident > 0 && memory.most >= memory.resident && memory.own <= memory.resident
        );
        assert!(processor_seconds(id).unwrap() < 3600.0 && wake_ups(id).is_ok());
        assert!(held(id).unwrap().descriptors > 2);
    }
}
