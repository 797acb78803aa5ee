//! A process and the time at which it did what an operator punishes with `kill` come in; it is ended, and nobody else.

use jiff::Timestamp;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::clock::Clock;
use super::gate;

/// Ticks of the start time of a process in a second (proc(5), `USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// Kills a process that ran at that time already: its id may have been given to another one since. Never the machine's
/// first process, and never the agent. Says whether it was killed.
pub(super) fn kill(clock: Clock, pid: u32, at: Timestamp) -> bool {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(target) = target.filter(|_| pid > 1 && pid != std::process::id()) else {
        tracing::warn!(pid, "a policy says to kill what is never killed");
        return false;
    };
    // From here on the descriptor stands for whoever has the id now, whatever becomes of the id.
    let Ok(held) = pidfd_open(target, PidfdFlags::empty()) else { return false };
    let ticks = gate::start_of(pid);
    if ticks == 0 || clock.wall_of_boot(ticks.saturating_mul(TICK_NS)) > at {
        return false;
    }
    match pidfd_send_signal(&held, Signal::KILL) {
        Ok(()) => {
            tracing::warn!(pid, "killed, as a policy says");
            true
        }
        Err(error) => {
            tracing::warn!(pid, %error, "could not be killed, as a policy says");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_who_ran_at_the_time_is_killed() {
        let clock = Clock::of_machine();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(!kill(clock, child.id(), Timestamp::UNIX_EPOCH));
        assert!(child.try_wait().unwrap().is_none());
        let later = clock.wall(Clock::monotonic_ns().saturating_add(60_000_000_000));
        assert!(kill(clock, child.id(), later));
        assert!(!child.wait().unwrap().success());
        assert!(!kill(clock, 1, later) && !kill(clock, std::process::id(), later));
    }
}
