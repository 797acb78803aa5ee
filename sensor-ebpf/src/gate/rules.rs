//! A class and a destination come in; the verdict goes out, after the same number of look-ups for any number of rules.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use sensor_common::gate::{
    ACTION_DENY, ACTION_KILL, CLASS_EVERY, CLASS_NONE, DESTINATION_ANY, DESTINATION_NONE,
    EVENT_KILL, EVENT_REFUSED, GATE_COUNT_EVENT_NO_ROOM, GATE_COUNT_REFUSED, Gate, GateEvent,
    RULE_CLASS, RULE_DESTINATION, RULE_PART, RuleKey, Verdict,
};

use crate::maps::{GATE_EVENTS, RULES, SWITCHES, count, now};

/// `EACCES` (asm-generic/errno-base.h): what a refused message gives.
pub const EACCES: u32 = 13;
/// `EPERM`: what a refused `connect`, datagram or `socket` gives.
pub const EPERM: u32 = 1;

/// A verdict that is in force now; one that has expired is none.
#[inline(always)]
pub fn rule(key: &RuleKey, at: u64) -> Option<Verdict> {
    // SAFETY: the value is copied out at once.
    let verdict = *unsafe { RULES.get(key) }?;
    (verdict.expires_ns == 0 || verdict.expires_ns > at).then_some(verdict)
}

/// Whether a verdict refuses.
#[inline(always)]
pub fn refuses(verdict: &Verdict) -> bool {
    verdict.action == ACTION_DENY || verdict.action == ACTION_KILL
}

#[inline(always)]
fn about(class: u32, destination: u32, at: u64) -> Option<Verdict> {
    let mut key = RuleKey { class, kind: RULE_DESTINATION, value: [u64::from(destination), 0] };
    if let Some(verdict) = rule(&key, at) {
        return Some(verdict);
    }
    key.value[0] = u64::from(DESTINATION_ANY);
    rule(&key, at)
}

/// Whether a panic is on, about anything.
#[inline(always)]
pub fn is_panic() -> bool {
    let until = SWITCHES.get(1).map_or(0, |switches| switches.panic_until_ns);
    until != 0 && until > now()
}

/// Whether a panic about a key or a model is on: then everybody's requests are judged.
#[inline(always)]
pub fn is_content_panic() -> bool {
    let until = SWITCHES.get(1).map_or(0, |switches| switches.content_until_ns);
    until != 0 && until > now()
}

/// Whether an AI destination is refused to a class: a panic first, then what the class is told.
#[inline(always)]
pub fn refused(class: u32, destination: u32) -> Option<Verdict> {
    if destination == DESTINATION_NONE {
        return None;
    }
    let at = now();
    if is_panic() {
        // A panic is about a whole provider.
        let part =
            RuleKey { class: CLASS_NONE, kind: RULE_PART, value: [u64::from(destination), 0] };
        let whole = rule(&part, at).map_or(destination, |told| told.reason);
        if let Some(verdict) = about(CLASS_EVERY, whole, at)
            && refuses(&verdict)
        {
            return Some(verdict);
        }
        let key = RuleKey { class, kind: RULE_CLASS, value: [0, 0] };
        if let Some(verdict) = rule(&key, at)
            && refuses(&verdict)
        {
            return Some(verdict);
        }
    }
    let verdict = about(class, destination, at)?;
    refuses(&verdict).then_some(verdict)
}

/// What is reported besides what the socket tells.
pub struct Report {
    pub flags: u32,
    pub layer: u32,
    pub reason: u32,
    pub errno: u32,
    pub class: u32,
    /// Process and thread; some hooks run for nobody in particular.
    pub thread: u64,
}

/// The report of a refusal.
#[inline(always)]
pub fn refusal(layer: u32, verdict: &Verdict, errno: u32, class: u32) -> Report {
    let kill = if verdict.action == ACTION_KILL { EVENT_KILL } else { 0 };
    let thread = bpf_get_current_pid_tgid();
    Report { flags: EVENT_REFUSED | kill, layer, reason: verdict.reason, errno, class, thread }
}

/// Reports what was done to a socket.
#[inline(always)]
pub fn report(gate: *const Gate, report: &Report) {
    if report.flags & EVENT_REFUSED != 0 {
        count(GATE_COUNT_REFUSED);
    }
    let thread = report.thread;
    let Some(mut entry) = GATE_EVENTS.reserve::<GateEvent>(0) else {
        count(GATE_COUNT_EVENT_NO_ROOM);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: `event` is reserved memory of a whole event, written field by field to spare the stack; `gate` is live.
    unsafe {
        (&raw mut (*event).at_ns).write(now());
        (&raw mut (*event).cookie).write((*gate).cookie);
        (&raw mut (*event).cgroup).write((*gate).cgroup);
        (&raw mut (*event).sent).write((*gate).sent);
        (&raw mut (*event).flags).write(report.flags);
        (&raw mut (*event).layer).write(report.layer);
        (&raw mut (*event).tgid).write((thread >> 32) as u32);
        (&raw mut (*event).tid).write(thread as u32);
        (&raw mut (*event).class).write(report.class);
        (&raw mut (*event).destination).write((*gate).destination);
        (&raw mut (*event).reason).write(report.reason);
        (&raw mut (*event).errno).write(report.errno);
        (&raw mut (*event).family).write((*gate).family);
        (&raw mut (*event).remote_port).write((*gate).remote_port);
        (&raw mut (*event).remote_address).write((*gate).remote_address);
    }
    entry.submit(0);
}
