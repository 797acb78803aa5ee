//! Processes come by as they execute, fork and end; those of interest go out as records.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel,
};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use sensor_common::record::{KIND_EXEC, KIND_EXIT, KIND_FORK};
use sensor_common::state::{COUNT_EVENT_NO_ROOM, PROCESS_PROBED};

use crate::maps::{
    EVENTS, PROCESSES, PROGRAMS, SIGNAL_LIVE, TASK_GROUP_LEADER, TASK_PID, TASK_SIGNAL,
    TASK_START_BOOTTIME, TASK_TGID, count, setting,
};
use crate::ring::{READER_EVENTS, cgroup, emit, header};

/// Start of the current process (its group leader), boot clock nanoseconds; 0 where the kernel does not say.
#[inline(always)]
pub fn start_ns() -> u64 {
    let (leader_at, start_at) = (setting(&TASK_GROUP_LEADER), setting(&TASK_START_BOOTTIME));
    if leader_at == 0 || start_at == 0 {
        return 0;
    }
    // SAFETY: the helper cannot fail; its result is only ever read through `bpf_probe_read_kernel`.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    let Ok(leader) =
        (unsafe { bpf_probe_read_kernel((task + u64::from(leader_at)) as *const u64) })
    else {
        return 0;
    };
    // SAFETY: as above.
    unsafe { bpf_probe_read_kernel((leader + u64::from(start_at)) as *const u64) }.unwrap_or(0)
}

/// Process that sends the packet at hand, where no helper may be asked for it; 0 where the kernel does not say.
#[inline(always)]
pub fn sender() -> u32 {
    let at = setting(&TASK_TGID);
    if at == 0 {
        return 0;
    }
    // SAFETY: the helper cannot fail; its result is only read through `bpf_probe_read_kernel`.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { bpf_probe_read_kernel((task + u64::from(at)) as *const u32) }.unwrap_or(0)
}

/// How the agent has marked the process; 0 where it has not.
#[inline(always)]
pub fn marks_of(tgid: u32) -> u32 {
    // SAFETY: the value is copied out at once.
    unsafe { PROCESSES.get(&tgid) }.map_or(0, |marks| *marks)
}

/// Whether the process carries probes.
#[inline(always)]
pub fn is_probed(tgid: u32) -> bool {
    marks_of(tgid) & PROCESS_PROBED != 0
}

#[inline(always)]
fn report(kind: u32, aux: u64) {
    let mut record = header(kind, 0);
    record.start_ns = start_ns();
    record.aux = aux;
    record.cgroup = cgroup();
    if !emit(&EVENTS, READER_EVENTS, &record) {
        count(COUNT_EVENT_NO_ROOM);
    }
}

/// Reports the execution of a program by a probed process, or of a program that made AI calls before.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(_ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let known = match bpf_get_current_comm() {
        // SAFETY: only the presence of the key counts.
        Ok(comm) => unsafe { PROGRAMS.get(&comm) }.is_some(),
        Err(_) => false,
    };
    if known || is_probed(tgid) {
        report(KIND_EXEC, 0);
    }
    0
}

/// Reports the fork of a probed process; threads are not reported.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !is_probed(tgid) {
        return 0;
    }
    let (pid_at, tgid_at) = (setting(&TASK_PID), setting(&TASK_TGID));
    if pid_at == 0 || tgid_at == 0 {
        aya_log_ebpf::warn!(&ctx, "fork of process {} is not followed: task layout unknown", tgid);
        return 0;
    }
    let arguments = ctx.as_ptr().cast::<u64>();
    // SAFETY: sched_process_fork has two arguments; the second is the child's task.
    let child = unsafe { *arguments.add(1) };
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    let pid =
        unsafe { bpf_probe_read_kernel((child + u64::from(pid_at)) as *const u32) }.unwrap_or(0);
    // SAFETY: as above.
    let child_tgid =
        unsafe { bpf_probe_read_kernel((child + u64::from(tgid_at)) as *const u32) }.unwrap_or(0);
    if pid != 0 && pid == child_tgid {
        report(KIND_FORK, u64::from(pid));
    }
    0
}

/// Whether the thread that ends is the last of its process. The first one may end before the others, by itself or because
/// another one executes a program: the process goes on then.
#[inline(always)]
fn is_last_thread(tgid: u32, tid: u32) -> bool {
    let (signal_at, live_at) = (setting(&TASK_SIGNAL), setting(&SIGNAL_LIVE));
    if signal_at == 0 || live_at == 0 {
        return tgid == tid;
    }
    // SAFETY: the helper cannot fail; its result is only ever read through `bpf_probe_read_kernel`.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    let Ok(signal) =
        (unsafe { bpf_probe_read_kernel((task + u64::from(signal_at)) as *const u64) })
    else {
        return tgid == tid;
    };
    // The kernel counts a thread out before it tells of its end.
    // SAFETY: as above.
    let live = unsafe { bpf_probe_read_kernel((signal + u64::from(live_at)) as *const u32) };
    live == Ok(0)
}

/// Reports the end of a probed process.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    let thread = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((thread >> 32) as u32, thread as u32);
    if is_probed(tgid) && is_last_thread(tgid, tid) {
        report(KIND_EXIT, 0);
    }
    0
}
