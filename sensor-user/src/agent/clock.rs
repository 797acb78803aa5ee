//! The kernel's monotonic clock comes in; wall-clock time goes out, also after the wall clock was set.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Translates the times of kernel records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Wall clock minus monotonic clock, in nanoseconds.
    offset_ns: i128,
}

impl Clock {
    /// Reads both clocks.
    pub(super) fn read() -> Self {
        let monotonic = i128::from(Self::monotonic_ns());
        Self { offset_ns: wall_ns().saturating_sub(monotonic) }
    }

    /// Now, on the clock that kernel records carry (`CLOCK_MONOTONIC`).
    pub(super) fn monotonic_ns() -> u64 {
        nanoseconds(ClockId::Monotonic)
    }

    /// Wall-clock time of a record, in nanoseconds since 1970-01-01 UTC.
    pub(super) fn wall_ns(self, at_ns: u64) -> i128 {
        i128::from(at_ns).saturating_add(self.offset_ns)
    }

    /// Wall-clock time of a record.
    pub(super) fn wall(self, at_ns: u64) -> Timestamp {
        Timestamp::from_nanosecond(self.wall_ns(at_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Wall-clock time of a boot-clock time (`CLOCK_BOOTTIME`), as the start of a process is kept.
    pub(super) fn wall_of_boot(self, boot_ns: u64) -> Timestamp {
        let asleep = nanoseconds(ClockId::Boottime).saturating_sub(Self::monotonic_ns());
        self.wall(boot_ns.saturating_sub(asleep))
    }

    /// The same in whole seconds.
    pub(super) fn wall_seconds(self, at_ns: u64) -> i64 {
        i64::try_from(self.wall_ns(at_ns).div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[expect(clippy::disallowed_methods, reason = "the one place where the agent reads the wall clock")]
fn wall_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_made_now_is_made_now() {
        let clock = Clock::read();
        let apart = clock.wall_ns(Clock::monotonic_ns()).abs_diff(wall_ns());
        assert!(apart < 60_000_000_000, "{apart}");
    }
}
