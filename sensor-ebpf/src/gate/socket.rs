//! Noted sockets come by as they are established and close; established ones are put under watch.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_TCP_CLOSE, bpf_sock,
};
use aya_ebpf::helpers::generated::{bpf_sk_storage_get, bpf_sock_hash_update};
use aya_ebpf::macros::{cgroup_sockopt, sock_ops};
use aya_ebpf::programs::{SockOpsContext, SockoptContext};
use sensor_common::gate::{
    EVENT_REFUSED, EVENT_UNSEEN, GATE_COUNT_MAP_FAILED, GATE_MAPPED, Gate, LAYER_SOCKET,
    REASON_ULP, REASON_UNMAPPED, STATE_OTHER,
};

use crate::maps::{AI_SOCKETS, GATES, HELLOS, MARKS, WATCHED, count};
use crate::rules::{EPERM, Report, is_panic, report};
use crate::subject::{SCOPE_REFUSING, scope_of};

/// `SOL_TCP` (linux/socket.h).
const LEVEL_TCP: i32 = 6;
/// `TCP_ULP` (linux/tcp.h).
const OPTION_ULP: i32 = 31;
/// What a program of sockets gives back: with 0, the kernel would throw away what other programs reply.
const DONE: u32 = 1;
/// The option is set.
const SET: i32 = 1;
/// The call fails.
const REFUSE: i32 = 0;

/// What is known of a socket; nothing where it is of no interest.
#[inline(always)]
pub fn gate(socket: *mut bpf_sock) -> *mut Gate {
    if socket.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the socket comes from a context and is not null.
    unsafe {
        bpf_sk_storage_get(
            (&raw const GATES).cast_mut().cast(),
            socket.cast(),
            core::ptr::null_mut(),
            0,
        )
    }
    .cast()
}

/// Puts noted sockets under watch before their first byte, and forgets closed ones.
#[sock_ops]
pub fn gate_state(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    let established = op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
    let closed = op == BPF_SOCK_OPS_STATE_CB && ctx.arg(1) == BPF_TCP_CLOSE;
    if !established && !closed {
        return DONE;
    }
    // SAFETY: the context is valid for the run of the program.
    let socket = unsafe { core::ptr::read_volatile(&raw const (*ctx.ops).__bindgen_anon_2.sk) };
    let kept = gate(socket);
    if kept.is_null() {
        return DONE;
    }
    // SAFETY: the storage of a live socket.
    let (mut cookie, class) = unsafe { ((*kept).cookie, (*kept).class) };
    if closed {
        let _ = AI_SOCKETS.remove(&cookie);
        let _ = MARKS.remove(&cookie);
        let _ = HELLOS.remove(&cookie);
        return DONE;
    }
    // SAFETY: the map and the context are live; the key is a whole cookie.
    let failed = unsafe {
        bpf_sock_hash_update(
            ctx.ops,
            (&raw const WATCHED).cast_mut().cast(),
            (&raw mut cookie).cast(),
            0,
        )
    };
    if failed == 0 {
        // SAFETY: the storage of a live socket.
        unsafe { (*kept).flags |= GATE_MAPPED };
    } else {
        count(GATE_COUNT_MAP_FAILED);
        let (flags, reason) = (EVENT_UNSEEN, REASON_UNMAPPED);
        // SAFETY: the storage of a live socket.
        let thread = u64::from(unsafe { (*kept).tgid }) << 32;
        report(kept, &Report { flags, layer: LAYER_SOCKET, reason, errno: 0, class, thread });
    }
    // What other programs have asked for stays, as the call replaces all of it.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    DONE
}

/// Refuses another protocol on top of a watched socket that may lead to AI: with TLS in the kernel (`TCP_ULP`), what the
/// socket carries would be made behind the place where it is watched. Libraries make their records themselves then.
#[cgroup_sockopt(setsockopt)]
pub fn gate_option(ctx: SockoptContext) -> i32 {
    // SAFETY: the context is valid for the run of the program; each field is read by itself, as the verifier demands.
    let (level, option) = unsafe { ((*ctx.sockopt).level, (*ctx.sockopt).optname) };
    if level != LEVEL_TCP || option != OPTION_ULP {
        return SET;
    }
    // SAFETY: as above.
    let kept = gate(unsafe { (*ctx.sockopt).__bindgen_anon_1.sk });
    if kept.is_null() {
        return SET;
    }
    // SAFETY: the storage of a live socket.
    let (class, state, tgid) = unsafe { ((*kept).class, (*kept).state, (*kept).tgid) };
    if state == STATE_OTHER || (scope_of(class) & SCOPE_REFUSING == 0 && !is_panic()) {
        return SET;
    }
    let (flags, layer, reason, errno) = (EVENT_REFUSED, LAYER_SOCKET, REASON_ULP, EPERM);
    report(kept, &Report { flags, layer, reason, errno, class, thread: u64::from(tgid) << 32 });
    REFUSE
}
