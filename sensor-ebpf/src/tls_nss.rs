//! Entries of NSPR's and NSS's functions come by; plaintext records of descriptors that NSS has taken over go out.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use sensor_common::limits::NAME_MAX;
use sensor_common::names::TAIL_COPY;
use sensor_common::record::{FAMILY_NSS, FLAG_FAMILY_MASK};
use sensor_common::state::{
    CALL_CANDIDATE, CALL_HANDSHAKE, CALL_READ, CALL_WRITE, COUNT_CALL_TABLE_FULL, Call,
};

use crate::maps::{CALLS, CONNECTIONS, TAILS, count};
use crate::tls::{Entry, call_of, connection, enter, family, key_of, never_tail_call};
use crate::tls_bind::{forget, set_name};

const FLAGS: u32 = family(FAMILY_NSS);
/// `PR_MSG_PEEK` (prio.h): what is peeked at is read again.
const PEEK: u64 = 2;

/// Whether a descriptor is one that NSS has taken over: files and plain sockets are written with the same functions.
#[inline(always)]
fn is_tls(object: u64) -> bool {
    let Some(connection) = CONNECTIONS.get_ptr(&key_of(object)) else { return false };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    unsafe { (*connection).flags & FLAG_FAMILY_MASK == FLAGS }
}

/// Notes a write to a descriptor that may have been taken over before the probes stood: what goes out under it tells.
#[inline(always)]
fn consider(object: u64, buffer: u64, length: u64) {
    let call = Call {
        object,
        buffer,
        written: 0,
        length,
        done: 0,
        offset: 0,
        connection: 0,
        start_ns: 0,
        flags: 0,
        state: CALL_WRITE | CALL_CANDIDATE,
        chunks: 0,
        reserved: 0,
    };
    if CALLS.insert(&bpf_get_current_pid_tgid(), &call, 0).is_err() {
        count(COUNT_CALL_TABLE_FULL);
    }
}

/// The call of a candidate that has put a TLS record out: from here on its descriptor is a TLS object.
#[inline(always)]
pub fn confirmed(candidate: &Call) -> Option<Call> {
    call_of(&Entry {
        object: candidate.object,
        buffer: candidate.buffer,
        length: candidate.length,
        written: 0,
        state: CALL_WRITE,
        flags: FLAGS,
    })
}

#[inline(always)]
fn write(ctx: &ProbeContext) -> u32 {
    let (Some(object), Some(buffer), Some(amount)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2))
    else {
        return 0;
    };
    // The argument is an int: the upper half of the register is undefined.
    let length = amount & 0xffff_ffff;
    let length = if length > 0x7fff_ffff { 0 } else { length };
    if !is_tls(object) {
        consider(object, buffer, length);
        never_tail_call(ctx);
        return 0;
    }
    if enter(&Entry { object, buffer, length, written: 0, state: CALL_WRITE, flags: FLAGS }) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(ctx, TAIL_COPY) };
    }
    0
}

#[inline(always)]
fn read(ctx: &ProbeContext, peeks: bool) -> u32 {
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    if !peeks && is_tls(object) {
        enter(&Entry { object, buffer, length: 0, written: 0, state: CALL_READ, flags: FLAGS });
    }
    never_tail_call(ctx);
    0
}

/// proto: PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount);
#[uprobe]
pub fn nss_write(ctx: ProbeContext) -> u32 {
    write(&ctx)
}

/// proto: PRInt32 PR_Send(PRFileDesc *fd, const void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);
#[uprobe]
pub fn nss_send(ctx: ProbeContext) -> u32 {
    write(&ctx)
}

/// proto: PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount);
#[uprobe]
pub fn nss_read(ctx: ProbeContext) -> u32 {
    read(&ctx, false)
}

/// proto: PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);
#[uprobe]
pub fn nss_recv(ctx: ProbeContext) -> u32 {
    let flags = ctx.arg::<u64>(3).unwrap_or(0);
    read(&ctx, flags & PEEK != 0)
}

/// A descriptor becomes a TLS object.
/// proto: PRFileDesc *SSL_ImportFD(PRFileDesc *model, PRFileDesc *fd);
#[uretprobe]
pub fn nss_import(ctx: RetProbeContext) -> u32 {
    let object = ctx.ret::<u64>();
    if object != 0 {
        let key = key_of(object);
        forget(&key);
        let _ = connection(&key, FLAGS);
    }
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}

/// proto: SECStatus SSL_SetURL(PRFileDesc *fd, const char *url);
#[uprobe]
pub fn nss_set_url(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(name)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    if name != 0 {
        set_name(object, name, NAME_MAX as u64, FLAGS);
    }
    never_tail_call(&ctx);
    0
}

/// proto: SECStatus SSL_ForceHandshake(PRFileDesc *fd);
#[uprobe]
pub fn nss_handshake(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    enter(&Entry { object, buffer: 0, length: 0, written: 0, state: CALL_HANDSHAKE, flags: FLAGS });
    never_tail_call(&ctx);
    0
}

/// proto: PRStatus PR_Close(PRFileDesc *fd);
#[uprobe]
pub fn nss_close(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    if is_tls(object) {
        forget(&key_of(object));
    }
    never_tail_call(&ctx);
    0
}
