//! Processes come by; their class goes out, by process, by cgroup, or by a cgroup above it. Children inherit.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task,
    bpf_probe_read_kernel,
};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use sensor_common::gate::{
    CLASS_UNKNOWN, SCOPE_CONTENT, SCOPE_ENFORCED, SCOPE_NAMES, SCOPE_REFUSE_OPAQUE,
    SCOPE_REFUSE_QUIC,
};

use crate::maps::{SCOPES, SUBJECT_CGROUPS, SUBJECT_PROCESSES, SWITCHES, setting};
use crate::rules::is_panic;

/// Something may be refused to the class.
pub const SCOPE_REFUSING: u32 =
    SCOPE_NAMES | SCOPE_CONTENT | SCOPE_REFUSE_OPAQUE | SCOPE_REFUSE_QUIC;
/// Depth of the cgroup tree down to which a class is inherited.
const LEVELS_MAX: i32 = 8;

/// Offset of `task_struct.pid`, from the running kernel's BTF; 0 where unknown.
#[unsafe(no_mangle)]
pub static TASK_PID: u32 = 0;
/// Offset of `task_struct.tgid`.
#[unsafe(no_mangle)]
pub static TASK_TGID: u32 = 0;
/// Offset of `task_struct.signal`; 0 where unknown.
#[unsafe(no_mangle)]
pub static TASK_SIGNAL: u32 = 0;
/// Offset of `signal_struct.live`.
#[unsafe(no_mangle)]
pub static SIGNAL_LIVE: u32 = 0;

/// Who is current, and what is in force for it.
#[derive(Clone, Copy)]
pub struct Current {
    pub tgid: u32,
    pub cgroup: u64,
    pub class: u32,
    pub scope: u32,
}

/// Process id of the current process.
#[inline(always)]
pub fn tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Class of a process by its id alone.
#[inline(always)]
pub fn class_of_process(tgid: u32) -> u32 {
    // SAFETY: the value is copied out at once.
    unsafe { SUBJECT_PROCESSES.get(&tgid) }.map_or(CLASS_UNKNOWN, |subject| subject.class)
}

/// What is in force for a class.
#[inline(always)]
pub fn scope_of(class: u32) -> u32 {
    // SAFETY: the value is copied out at once.
    unsafe { SCOPES.get(&class) }.map_or(0, |scope| *scope)
}

#[inline(always)]
fn class_of_cgroup(cgroup: u64, ancestors: bool) -> u32 {
    // SAFETY: the value is copied out at once.
    if let Some(subject) = unsafe { SUBJECT_CGROUPS.get(&cgroup) } {
        return subject.class;
    }
    if !ancestors {
        return CLASS_UNKNOWN;
    }
    let mut class = CLASS_UNKNOWN;
    let mut level = 1;
    while level <= LEVELS_MAX {
        // SAFETY: the helper gives 0 for a level that does not exist.
        let above = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if above == 0 {
            return class;
        }
        // SAFETY: the value is copied out at once.
        if let Some(subject) = unsafe { SUBJECT_CGROUPS.get(&above) } {
            class = subject.class;
        }
        level += 1;
    }
    class
}

/// The current process, if anything is in force for it. While a panic is on, something is in force for everybody.
#[inline(always)]
pub fn current() -> Option<Current> {
    let switches = SWITCHES.get(0)?;
    let panic = is_panic();
    if switches.active == 0 && !panic {
        return None;
    }
    let tgid = tgid();
    // SAFETY: the helper takes no arguments and cannot fail.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let mut class = class_of_process(tgid);
    if class == CLASS_UNKNOWN {
        class = class_of_cgroup(cgroup, switches.ancestors != 0);
    }
    let mut scope = scope_of(class);
    if panic {
        scope |= SCOPE_ENFORCED;
    }
    (scope & SCOPE_ENFORCED != 0).then_some(Current { tgid, cgroup, class, scope })
}

/// A child inherits the class of its parent; threads share it anyway.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn gate_fork(ctx: RawTracePointContext) -> i32 {
    let parent = tgid();
    // SAFETY: the value is copied out at once.
    let Some(subject) = (unsafe { SUBJECT_PROCESSES.get(&parent) }) else { return 0 };
    let mut subject = *subject;
    // The child's own start is not known here; the agent fills it in.
    subject.start_ns = 0;
    let arguments = ctx.as_ptr().cast::<u64>();
    // SAFETY: sched_process_fork has two arguments; the second is the child's task.
    let child = unsafe { *arguments.add(1) };
    let (pid_at, tgid_at) = (setting(&TASK_PID), setting(&TASK_TGID));
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    let pid =
        unsafe { bpf_probe_read_kernel((child + u64::from(pid_at)) as *const u32) }.unwrap_or(0);
    // SAFETY: as above.
    let child_tgid =
        unsafe { bpf_probe_read_kernel((child + u64::from(tgid_at)) as *const u32) }.unwrap_or(0);
    if pid != 0 && pid == child_tgid {
        let _ = SUBJECT_PROCESSES.insert(&pid, &subject, 0);
    }
    0
}

/// Whether the thread that ends is the last of its process. The first one may end before the others, by itself or because
/// another one executes a program: the process goes on then.
#[inline(always)]
fn is_last_thread() -> bool {
    let thread = bpf_get_current_pid_tgid();
    let (signal_at, live_at) = (setting(&TASK_SIGNAL), setting(&SIGNAL_LIVE));
    if signal_at == 0 || live_at == 0 {
        return (thread >> 32) as u32 == thread as u32;
    }
    // SAFETY: the helper cannot fail; its result is only ever read through `bpf_probe_read_kernel`.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    let Ok(signal) =
        (unsafe { bpf_probe_read_kernel((task + u64::from(signal_at)) as *const u64) })
    else {
        return false;
    };
    // The kernel counts a thread out before it tells of its end.
    // SAFETY: as above.
    let live = unsafe { bpf_probe_read_kernel((signal + u64::from(live_at)) as *const u32) };
    live == Ok(0)
}

/// The id of an ended process may be given to another one.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn gate_exit(_ctx: RawTracePointContext) -> i32 {
    if is_last_thread() {
        let _ = SUBJECT_PROCESSES.remove(&tgid());
    }
    0
}
