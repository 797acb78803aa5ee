//! What attaching to a process came to comes in; the process is marked, tried again later, or let go.

use std::time::{Duration, Instant};

use crate::probes::library;
use crate::probes::{Attached, Why};

use super::clock::Clock;
use super::intent::{Intent, Waiting};
use super::notice::ToPipeline;

/// Tries to find the TLS library of a process that showed intent before it loaded one.
pub(super) const TRIES_MAX: u8 = 8;
/// Time between two looks for the end of a search.
const SEARCH_PAUSE_NS: u64 = 5_000_000;

impl Intent {
    /// Marks a process, but for one that showed intent before it had any library: its first `ClientHello` is still to be
    /// held back.
    fn mark_attached(&mut self, pid: u32, why: Why) {
        let awaits_hello = self.config.capture.hold_client_hello
            && matches!(why, Why::Question | Why::Connect)
            && self.registry.libraries_of(pid).is_empty();
        if !awaits_hello {
            self.mark(pid);
        }
    }

    /// Says how long probes took, and how long after the sign that asked for them they stood.
    pub(super) fn set(pid: u32, why: Why, probes: usize, (began, sign): (Instant, u64)) {
        let took_us = began.elapsed().as_micros();
        let after_us = Clock::monotonic_ns().saturating_sub(sign) / 1000;
        tracing::debug!(pid, probes, why = why.as_str(), took_us, after_us, "probes set");
    }

    pub(super) fn after_attach(
        &mut self,
        pid: u32,
        why: Why,
        attached: &Attached,
        (began, now): (Instant, u64),
    ) {
        if !attached.under_way {
            // A ClientHello is held back until the process is marked, so the mark comes last.
            self.mark_attached(pid, why);
            Self::set(pid, why, attached.probes, (began, now));
        }
        self.status.attached(why, attached.probes);
        if attached.under_way {
            // The tries begin when the search of its file has ended.
            let next = now.saturating_add(SEARCH_PAUSE_NS);
            let tries = TRIES_MAX.saturating_add(1);
            // Asked now: its process may have ended before the search.
            let reason = library::why_blind(pid);
            self.waiting.insert(pid, Waiting { tries, next_ns: next, reason, why });
        } else if attached.rejected {
            self.release(pid);
            self.notify(ToPipeline::Blind { pid, reason: "probes_rejected" });
            return;
        } else if self.registry.libraries_of(pid).is_empty() {
            if matches!(why, Why::Probation | Why::Forked) {
                self.release(pid);
                return;
            }
            // Who only asked for an address (a resolver, a tool) is not blind: it never spoke TLS.
            if why == Why::Question {
                self.release(pid);
                return;
            }
            let pause = Duration::from_millis(20);
            let next = now.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
            let reason = library::why_blind(pid);
            let waiting = Waiting { tries: TRIES_MAX, next_ns: next, reason, why };
            self.waiting.entry(pid).or_insert(waiting).next_ns = next;
        }
        self.remember(pid);
        if why == Why::Probation {
            self.probation.insert(pid, now.saturating_add(self.config.capture.probation_ns()));
        }
        self.workloads().resolve(pid, now);
    }
}
