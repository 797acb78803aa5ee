//! Entries and returns of the OpenSSL family's functions come by; plaintext records and commits go out.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use sensor_common::names::TAIL_COPY;
use sensor_common::record::{FLAG_FAMILY_SHIFT, FLAG_SENT, KIND_COMMIT};
use sensor_common::state::{
    CALL_HANDSHAKE, CALL_PROBATION, CALL_READ, CALL_WRITE, COUNT_CALL_TABLE_FULL,
    COUNT_CONNECTION_TABLE_FULL, COUNT_IGNORED_CALLS, COUNT_RECORD_NO_ROOM,
    COUNT_RETURN_WITHOUT_ENTRY, Call, Connection, ConnectionKey, VERDICT_IGNORE, VERDICT_PROBATION,
};

use crate::maps::{CALLS, CONNECTIONS, DATA, TAILS, VERDICTS, count, count_lost};
use crate::process::start_ns;
use crate::ring::{READER_DATA, emit, header, now};

/// Key of a TLS object of the current process.
#[inline(always)]
pub fn key_of(object: u64) -> ConnectionKey {
    ConnectionKey { tgid: bpf_get_current_pid_tgid() >> 32, object }
}

/// A number that no other connection has: two processors may read the same nanosecond.
#[inline(always)]
fn unique_id() -> u64 {
    // SAFETY: the helper takes no arguments and cannot fail.
    let processor = unsafe { bpf_get_smp_processor_id() };
    (now() << 8) | u64::from(processor & 0xff)
}

/// The flags of a connection of a family.
pub const fn family(family: u32) -> u32 {
    family << FLAG_FAMILY_SHIFT
}

/// The connection of a TLS object, made at first sight with these flags.
#[inline(always)]
pub fn connection(key: &ConnectionKey, flags: u32) -> Option<*mut Connection> {
    if let Some(found) = CONNECTIONS.get_ptr_mut(key) {
        return Some(found);
    }
    let fresh = Connection {
        id: unique_id(),
        start_ns: start_ns(),
        sent: 0,
        received: 0,
        cookie: 0,
        verdict: VERDICT_PROBATION,
        flags,
    };
    // Where one thread reads and another writes for the first time, both come here: the first one's generation holds.
    let _ = CONNECTIONS.insert(key, &fresh, u64::from(BPF_NOEXIST));
    let made = CONNECTIONS.get_ptr_mut(key);
    if made.is_none() {
        count(COUNT_CONNECTION_TABLE_FULL);
    }
    made
}

/// Whether the connection is not AI traffic; takes over the agent's verdict when there is one.
#[inline(always)]
fn is_ignored(connection: *mut Connection) -> bool {
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let (id, verdict) = unsafe { ((*connection).id, (*connection).verdict) };
    if verdict != VERDICT_PROBATION {
        return verdict == VERDICT_IGNORE;
    }
    // SAFETY: the value is copied out at once.
    let Some(decided) = (unsafe { VERDICTS.get(&id) }) else { return false };
    let decided = *decided;
    // SAFETY: as above; all writers store the same value.
    unsafe { (*connection).verdict = decided };
    decided == VERDICT_IGNORE
}

/// What the entry of a call says.
pub struct Entry {
    /// The TLS object's address.
    pub object: u64,
    /// The caller's buffer.
    pub buffer: u64,
    /// Bytes in it; 0 for a read.
    pub length: u64,
    /// Where the number of bytes moved is written; 0 where it is returned.
    pub written: u64,
    /// `CALL_` bits.
    pub state: u32,
    /// `FLAG_` bits of a connection seen for the first time.
    pub flags: u32,
}

/// Notes that the thread is inside a TLS call; says whether bytes are to be copied now (a write of a watched connection).
#[inline(always)]
pub fn enter(entry: &Entry) -> bool {
    let Some(call) = call_of(entry) else { return false };
    if CALLS.insert(&bpf_get_current_pid_tgid(), &call, 0).is_err() {
        skip(entry);
        return false;
    }
    entry.state & CALL_WRITE != 0
}

/// The call that an entry begins; `None` where its connection is of no interest.
#[inline(always)]
pub fn call_of(entry: &Entry) -> Option<Call> {
    let key = key_of(entry.object);
    let connection = connection(&key, entry.flags)?;
    // A handshake is followed in any case: its ClientHello tells that the object's memory serves a new connection.
    if is_ignored(connection) && entry.state & CALL_HANDSHAKE == 0 {
        count(COUNT_IGNORED_CALLS);
        return None;
    }
    // SAFETY: a live element of the LRU map, as above.
    let seen = unsafe { *connection };
    let undecided = if seen.verdict == VERDICT_PROBATION { CALL_PROBATION } else { 0 };
    let writing = entry.state & CALL_WRITE != 0;
    Some(Call {
        object: entry.object,
        buffer: entry.buffer,
        written: entry.written,
        length: entry.length,
        done: 0,
        offset: if writing { seen.sent } else { 0 },
        connection: seen.id,
        start_ns: seen.start_ns,
        flags: if writing { seen.flags | FLAG_SENT } else { seen.flags },
        state: entry.state | undecided,
        chunks: 0,
        reserved: 0,
        nonce: 0,
    })
}

/// Lets the stream go on behind a gap: nothing of this call will be seen, not even its return.
#[inline(always)]
fn skip(entry: &Entry) {
    let writing = entry.state & CALL_WRITE != 0;
    count_lost(COUNT_CALL_TABLE_FULL, if writing { entry.length } else { 0 });
    let Some(connection) = CONNECTIONS.get_ptr_mut(&key_of(entry.object)) else { return };
    // SAFETY: a live element of the LRU map; OpenSSL forbids two threads in one object.
    unsafe {
        if writing {
            (*connection).sent += entry.length;
        } else if entry.state & CALL_READ != 0 {
            // How much is read is known only at the return: one byte stands for it, so that the gap shows.
            (*connection).received += 1;
        }
    }
}

/// proto: int SSL_write(SSL *ssl, const void *buf, int num);
#[uprobe]
pub fn tls_write(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(buffer), Some(num)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2))
    else {
        return 0;
    };
    // The argument is an int: the upper half of the register is undefined.
    let length = num & 0xffff_ffff;
    let length = if length > 0x7fff_ffff { 0 } else { length };
    if enter(&Entry { object, buffer, length, written: 0, state: CALL_WRITE, flags: 0 }) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    }
    0
}

/// proto: int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written);
#[uprobe]
pub fn tls_write_ex(ctx: ProbeContext) -> u32 {
    write_sized(&ctx, 3)
}

/// proto: int SSL_write_ex2(SSL *ssl, const void *buf, size_t num, uint64_t flags, size_t *written);
#[uprobe]
pub fn tls_write_ex2(ctx: ProbeContext) -> u32 {
    write_sized(&ctx, 4)
}

#[inline(always)]
fn write_sized(ctx: &ProbeContext, written_at: usize) -> u32 {
    let (Some(object), Some(buffer), Some(length), Some(written)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2), ctx.arg::<u64>(written_at))
    else {
        return 0;
    };
    if enter(&Entry { object, buffer, length, written, state: CALL_WRITE, flags: 0 }) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(ctx, TAIL_COPY) };
    }
    0
}

/// proto: int SSL_read(SSL *ssl, void *buf, int num);
#[uprobe]
pub fn tls_read(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    enter(&Entry { object, buffer, length: 0, written: 0, state: CALL_READ, flags: 0 });
    never_tail_call(&ctx);
    0
}

/// proto: int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes);
#[uprobe]
pub fn tls_read_ex(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(buffer), Some(written)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(3))
    else {
        return 0;
    };
    enter(&Entry { object, buffer, length: 0, written, state: CALL_READ, flags: 0 });
    never_tail_call(&ctx);
    0
}

/// Whether the thread is inside a write or read of this object, which makes the handshake by itself (BoringSSL).
#[inline(always)]
fn is_inside(object: u64) -> bool {
    let Some(call) = CALLS.get_ptr(&bpf_get_current_pid_tgid()) else { return false };
    // SAFETY: a live element that only this thread changes.
    let (inside, state) = unsafe { ((*call).object, (*call).state) };
    inside == object && state & CALL_HANDSHAKE == 0
}

/// proto: int SSL_do_handshake(SSL *ssl);
#[uprobe]
pub fn tls_handshake(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    if !is_inside(object) {
        enter(&Entry { object, buffer: 0, length: 0, written: 0, state: CALL_HANDSHAKE, flags: 0 });
    }
    never_tail_call(&ctx);
    0
}

/// Keeps the program off the per-CPU private stack that preemptible kernels share between threads:
/// the verifier gives none to a program that holds a tail call, taken or not.
#[inline(always)]
pub fn never_tail_call(ctx: &ProbeContext) {
    if crate::maps::setting(&crate::maps::ABI) == 0 {
        // SAFETY: the tail-called program has the same type and context; the condition never holds.
        unsafe { TAILS.tail_call(ctx, TAIL_COPY) };
    }
}

/// How many bytes the call moved: the return value of the `int` forms, the out-parameter of the `_ex` forms.
#[inline(always)]
fn moved(call: &Call, returned: u64) -> u64 {
    let result = returned as u32 as i32;
    if result <= 0 {
        return 0;
    }
    if call.written == 0 {
        return u64::from(result as u32);
    }
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { bpf_probe_read_user(call.written as *const u64) }.unwrap_or(0)
}

/// Return of any write: says how many bytes were accepted, so that a retry is not counted twice.
/// proto: int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written);
#[uretprobe]
pub fn tls_write_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let call_now = unsafe { *call };
    let _ = CALLS.remove(&thread);
    if call_now.state & CALL_WRITE == 0 {
        count(COUNT_RETURN_WITHOUT_ENTRY);
        return 0;
    }
    commit(&call_now, moved(&call_now, ctx.ret::<u64>()));
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}

/// Says how many bytes of a write were accepted.
#[inline(always)]
pub fn commit(call_now: &Call, accepted: u64) {
    if accepted != 0 {
        let key = key_of(call_now.object);
        if let Some(connection) = CONNECTIONS.get_ptr_mut(&key) {
            // SAFETY: a live element of the LRU map; OpenSSL forbids two threads in one object.
            unsafe { (*connection).sent = call_now.offset + accepted };
        }
    }
    let mut commit = header(KIND_COMMIT, call_now.connection);
    commit.flags = call_now.flags;
    commit.start_ns = call_now.start_ns;
    commit.offset = call_now.offset;
    commit.call_len = call_now.length as u32;
    commit.aux = accepted;
    if !emit(&DATA, READER_DATA, &commit) {
        count(COUNT_RECORD_NO_ROOM);
    }
}

/// Return of any read: the bytes are in the caller's buffer now.
/// proto: int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes);
#[uretprobe]
pub fn tls_read_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let call_now = unsafe { *call };
    let got = moved(&call_now, ctx.ret::<u64>());
    if call_now.state & CALL_READ == 0 || got == 0 {
        let _ = CALLS.remove(&thread);
        return 0;
    }
    let key = key_of(call_now.object);
    let Some(connection) = CONNECTIONS.get_ptr_mut(&key) else {
        // The connection gave way to another one during the call.
        count_lost(COUNT_CONNECTION_TABLE_FULL, got);
        let _ = CALLS.remove(&thread);
        return 0;
    };
    // SAFETY: live elements; only this thread is inside the object.
    unsafe {
        (*call).offset = (*connection).received;
        (*call).length = got;
        (*call).flags = (*connection).flags;
        (*connection).received += got;
    }
    // SAFETY: the tail-called program has the same type and context.
    unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    let _ = CALLS.remove(&thread);
    0
}

/// Return of a handshake: the thread is outside again.
/// proto: int SSL_do_handshake(SSL *ssl);
#[uretprobe]
pub fn tls_handshake_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    if let Some(call) = CALLS.get_ptr_mut(&thread) {
        // SAFETY: a live element that only this thread changes.
        if unsafe { (*call).state } & CALL_HANDSHAKE != 0 {
            let _ = CALLS.remove(&thread);
        }
    }
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}
