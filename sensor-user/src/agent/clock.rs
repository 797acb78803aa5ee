//! The kernel's clocks come in; wall-clock time goes out, also after the wall clock was set or the machine was asleep.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// What the clocks show at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// Since 1970-01-01 UTC.
    wall: i128,
    /// `CLOCK_MONOTONIC`, which stands still while the machine is asleep.
    monotonic: u64,
    /// `CLOCK_BOOTTIME`, which does not.
    boot: u64,
}

/// Translates the times of kernel records. It asks the clocks each time (a hundred nanoseconds for what is done once an
/// event): how far they are apart changes with every suspend and every step of the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    look: fn() -> Now,
}

impl Clock {
    /// The clocks of this machine.
    pub(super) fn of_machine() -> Self {
        Self { look: Now::of_machine }
    }

    /// Now, on the clock that kernel records carry (`CLOCK_MONOTONIC`).
    pub(super) fn monotonic_ns() -> u64 {
        nanoseconds(ClockId::Monotonic)
    }

    /// Now, on the wall clock.
    pub(super) fn now(self) -> Timestamp {
        timestamp((self.look)().wall)
    }

    /// Wall-clock time of a record.
    pub(super) fn wall(self, at_ns: u64) -> Timestamp {
        timestamp(self.wall_ns(at_ns))
    }

    /// Wall-clock time of a boot-clock time (`CLOCK_BOOTTIME`), as the start of a process is kept.
    pub(super) fn wall_of_boot(self, boot_ns: u64) -> Timestamp {
        let now = (self.look)();
        timestamp(wall_of(boot_ns, now.boot, now.wall))
    }

    /// Wall-clock time of a record in whole seconds since 1970-01-01 UTC.
    pub(super) fn wall_seconds(self, at_ns: u64) -> i64 {
        i64::try_from(self.wall_ns(at_ns).div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
    }

    fn wall_ns(self, at_ns: u64) -> i128 {
        let now = (self.look)();
        wall_of(at_ns, now.monotonic, now.wall)
    }
}

impl Now {
    /// The wall clock is asked between the others: a thread that is held up here makes the start of a process earlier and
    /// what it did later, never the other way round.
    fn of_machine() -> Self {
        let monotonic = nanoseconds(ClockId::Monotonic);
        let wall = wall_ns();
        Self { wall, monotonic, boot: nanoseconds(ClockId::Boottime) }
    }
}

/// The wall-clock time that a clock's time stands for, by what both clocks show now.
fn wall_of(at_ns: u64, now_ns: u64, wall_now_ns: i128) -> i128 {
    wall_now_ns.saturating_sub(i128::from(now_ns).saturating_sub(i128::from(at_ns)))
}

fn timestamp(wall_ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(wall_ns).unwrap_or(Timestamp::UNIX_EPOCH)
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
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static SHOWN: Cell<Now> = const { Cell::new(Now { wall: 0, monotonic: 0, boot: 0 }) };
    }

    fn seconds(number: u64) -> u64 {
        number.saturating_mul(1_000_000_000)
    }

    fn show(wall: u64, monotonic: u64, boot: u64) {
        let (monotonic, boot) = (seconds(monotonic), seconds(boot));
        SHOWN.set(Now { wall: i128::from(seconds(wall)), monotonic, boot });
    }

    fn shown() -> Now {
        SHOWN.get()
    }

    #[test]
    fn record_made_now_is_made_now() {
        let clock = Clock::of_machine();
        let apart = clock.wall_ns(Clock::monotonic_ns()).abs_diff(wall_ns());
        assert!(apart < 60_000_000_000, "{apart}");
    }

    #[test]
    fn times_follow_a_wall_clock_that_is_set() {
        let clock = Clock { look: shown };
        for (wall, ten_before, thirty_before) in
            [(1_000, 990, 970), (90_000, 89_990, 89_970), (400, 390, 370)]
        {
            show(wall, 100, 100);
            assert_eq!(u64::try_from(clock.now().as_second()), Ok(wall));
            assert_eq!(u64::try_from(clock.wall_seconds(seconds(100))), Ok(wall));
            assert_eq!(clock.wall(seconds(90)).as_second(), ten_before);
            assert_eq!(clock.wall_of_boot(seconds(70)).as_second(), thirty_before);
        }
    }

    #[test]
    fn records_and_processes_keep_their_time_over_a_suspend() {
        let clock = Clock { look: shown };
        show(1_000, 100, 100);
        assert_eq!(clock.wall_of_boot(seconds(50)).as_second(), 950);
        // An hour asleep, a second awake.
        show(4_601, 101, 3_701);
        assert_eq!(clock.wall_seconds(seconds(101)), 4_601);
        assert_eq!(clock.wall_of_boot(seconds(50)).as_second(), 950);
        assert_eq!(clock.wall_of_boot(seconds(3_700)).as_second(), 4_600);
    }
}
