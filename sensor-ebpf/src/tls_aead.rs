//! Records of TLS come by where they are sealed and opened; plaintext of application data goes out, like that of a library.
//!
//! For stacks that have no C functions higher up (rustls on aws-lc; `tls_ring.rs` brings what is ring's). Sealing and opening
//! have an object each, which share nothing: a sealed record is found on the wire as it leaves, an arriving one as it is opened,
//! and the socket that both pass makes them one connection, which has the address of the object that seals.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use sensor_common::limits::WIRE_KEY_LEN;
use sensor_common::names::TAIL_COPY;
use sensor_common::record::{FAMILY_AEAD, FLAG_FRESH};
use sensor_common::state::{
    Alias, CALL_READ, CALL_WRITE, COUNT_RECORD_UNPAIRED, Call, ConnectionKey, WireOwner,
};

use crate::maps::{
    AEAD_UNTIL, ALIASES, BOUND, CALLS, CONNECTIONS, HEARD, TAILS, WIRE, WIRE_WANTED, count,
};
use crate::ring::now;
use crate::tls::{Entry, commit, connection, enter, family, key_of, never_tail_call};

/// `FLAG_` bits of every connection.
pub const FLAGS: u32 = family(FAMILY_AEAD);
/// Content type of application data (RFC 8446, 5.1).
const APPLICATION_DATA: u8 = 0x17;
/// First byte of every version on the wire.
const VERSION_MAJOR: u8 = 3;
/// Additional data of a record of TLS 1.3: its head (RFC 8446, 5.2).
pub const AD_TLS13: u64 = 5;
/// Additional data of a record of TLS 1.2: sequence, type, version, length (RFC 5246, 6.2.3.3).
pub const AD_TLS12: u64 = 13;
/// Longest input that can be a record: content, type, padding, and a tag (RFC 8446, 5.2).
const RECORD_MAX: u64 = 16_384 + 256;
/// Zeros behind the content that are passed over in search of its type (RFC 8446, 5.4); nobody at hand pads.
const PADDING_MAX: u32 = 16;
/// How long a sealed record may take to the wire.
const WIRE_WAIT_NS: u64 = 2_000_000_000;
/// How long after a record arriving ones are looked at: longer than any answer takes to begin.
const HEARD_WAIT_NS: u64 = 600_000_000_000;
/// `Call.reserved`: the record's type stands outside the content.
pub const PLAIN_TYPE: u32 = 1;

/// Arguments of both functions.
struct Arguments {
    out: u64,
    out_len: u64,
    nonce: u64,
    record: Record,
}

/// A record that is sealed or opened.
pub struct Record {
    /// The object that does it.
    pub object: u64,
    /// What goes in.
    pub input: u64,
    /// Bytes of it.
    pub length: u64,
    /// Additional data.
    pub ad: u64,
    /// Bytes of it.
    pub ad_len: u64,
}

/// A word of the memory of the process.
#[inline(always)]
pub fn word(at: u64) -> Option<u64> {
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { read_user(at as *const u64) }.ok()
}

/// The seventh argument and those behind it stand on the stack (System V ABI, x86-64), above the return address.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn behind(ctx: &ProbeContext) -> Option<[u64; 4]> {
    // SAFETY: the context of a uprobe is the registers of the thread.
    let stack = unsafe { (*ctx.regs).rsp };
    Some([word(stack + 8)?, word(stack + 16)?, word(stack + 24)?, word(stack + 32)?])
}

/// The ninth argument and those behind it stand on the stack (AAPCS64).
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn behind(ctx: &ProbeContext) -> Option<[u64; 4]> {
    // SAFETY: the context of a uprobe is the registers of the thread.
    let stack = unsafe { (*ctx.regs).sp };
    Some([ctx.arg::<u64>(6)?, ctx.arg::<u64>(7)?, word(stack)?, word(stack + 8)?])
}

#[cfg(not(any(bpf_target_arch = "x86_64", bpf_target_arch = "aarch64")))]
#[inline(always)]
fn behind(_ctx: &ProbeContext) -> Option<[u64; 4]> {
    None
}

#[inline(always)]
fn arguments(ctx: &ProbeContext) -> Option<Arguments> {
    let [input, length, ad, ad_len] = behind(ctx)?;
    Some(Arguments {
        out: ctx.arg::<u64>(1)?,
        out_len: ctx.arg::<u64>(2)?,
        nonce: ctx.arg::<u64>(4)?,
        record: Record { object: ctx.arg::<u64>(0)?, input, length, ad, ad_len },
    })
}

/// A byte of the memory of the process; 0 where it cannot be read.
#[inline(always)]
pub fn byte(at: u64) -> u8 {
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { read_user(at as *const u8) }.unwrap_or(0)
}

/// Whether the additional data is that of a TLS record that may be application data, and whether it says the type.
#[inline(always)]
pub fn is_record(record: &Record) -> Option<bool> {
    if record.length == 0 || record.length > RECORD_MAX {
        return None;
    }
    let (at, plain) = match record.ad_len {
        AD_TLS13 => (record.ad, false),
        AD_TLS12 => (record.ad + 8, true),
        _ => return None,
    };
    (byte(at) == APPLICATION_DATA && byte(at + 1) == VERSION_MAJOR).then_some(plain)
}

/// Whether the bytes may begin what a client of HTTP says first: a method, or the preface of HTTP/2.
#[inline(always)]
fn begins_http(at: u64) -> bool {
    byte(at).is_ascii_uppercase() && byte(at + 1).is_ascii_uppercase()
}

/// proto: int EVP_AEAD_CTX_seal(const EVP_AEAD_CTX *ctx, uint8_t *out, size_t *out_len, size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *ad, size_t ad_len);
#[uprobe]
pub fn aead_seal(ctx: ProbeContext) -> u32 {
    if let Some(arguments) = arguments(&ctx)
        && let Some(plain) = is_record(&arguments.record)
        && seal(&arguments.record, plain, arguments.out)
    {
        // TLS 1.2 puts the changing part of the nonce before the content (RFC 5288, 3).
        note(u32::from(plain), word(arguments.nonce + 4).unwrap_or(0));
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    }
    never_tail_call(&ctx);
    0
}

/// Begins a write of what is sealed; says whether its bytes are to be copied now.
#[inline(always)]
pub fn seal(record: &Record, plain: bool, written: u64) -> bool {
    let last = record.length - 1;
    if !plain && byte(record.input + last) != APPLICATION_DATA {
        return false;
    }
    let length = if plain { record.length } else { last };
    let key = key_of(record.object);
    // What an object seals before it is watched cannot be told; a client begins with a request.
    let fresh = if begins_http(record.input) { FLAG_FRESH } else { 0 };
    let flags = FLAGS | fresh;
    if connection(&key, flags).is_none() {
        return false;
    }
    wait(&AEAD_UNTIL, HEARD_WAIT_NS);
    enter(&Entry {
        object: record.object,
        buffer: record.input,
        length,
        written,
        state: CALL_WRITE,
        flags,
    })
}

/// Notes what the program at the return has to know of the call that the thread is inside of.
#[inline(always)]
pub fn note(reserved: u32, nonce: u64) {
    if let Some(call) = CALLS.get_ptr_mut(&bpf_get_current_pid_tgid()) {
        // SAFETY: a live element that only this thread changes.
        unsafe {
            (*call).reserved = reserved;
            (*call).nonce = nonce;
        }
    }
}

#[inline(always)]
fn wait(until: &'static aya_ebpf::maps::Array<u64>, more_ns: u64) {
    if let Some(until) = until.get_ptr_mut(0) {
        // SAFETY: a live array element; all writers move it forward.
        unsafe { *until = now() + more_ns };
    }
}

/// The first bytes of a record behind its head, as they are on the wire.
#[inline(always)]
fn content(at: u64, nonce: Option<u64>) -> Option<[u8; WIRE_KEY_LEN]> {
    let mut key = [0u8; WIRE_KEY_LEN];
    let skip = if let Some(nonce) = nonce {
        let bytes = nonce.to_ne_bytes();
        let mut place = 0;
        while place < 8 {
            key[place] = bytes[place];
            place += 1;
        }
        8
    } else {
        0
    };
    let target = key.as_mut_ptr();
    // SAFETY: the helper writes what is left of the array, or nothing.
    let failed = unsafe {
        if skip == 8 {
            bpf_probe_read_user(target.add(8).cast(), WIRE_KEY_LEN as u32 - 8, at as *const _)
        } else {
            bpf_probe_read_user(target.cast(), WIRE_KEY_LEN as u32, at as *const _)
        }
    };
    (failed == 0).then_some(key)
}

/// Return of a seal: the record is ready, and will be on the wire.
/// proto: int EVP_AEAD_CTX_seal(const EVP_AEAD_CTX *ctx, uint8_t *out, size_t *out_len, size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *ad, size_t ad_len);
#[uretprobe]
pub fn aead_seal_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let now_call = unsafe { *call };
    let _ = CALLS.remove(&thread);
    if now_call.state & CALL_WRITE != 0 {
        let done = ctx.ret::<u64>() as u32 == 1;
        if done {
            let nonce = (now_call.reserved == PLAIN_TYPE).then_some(now_call.nonce);
            expect(&now_call, now_call.written, nonce);
        }
        commit(&now_call, if done { now_call.length } else { 0 });
    }
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}

/// Has a sealed record looked for on the wire, where its object is not tied to a socket yet.
#[inline(always)]
pub fn expect(call: &Call, at: u64, nonce: Option<u64>) {
    let key = key_of(call.object);
    if let Some(connection) = CONNECTIONS.get_ptr(&key)
        // SAFETY: a live element of the LRU map.
        && unsafe { (*connection).cookie } == 0
    {
        let owner = WireOwner { key, connection: call.connection };
        if let Some(wire) = content(at, nonce) {
            let _ = WIRE.insert(&wire, &owner, 0);
            wait(&WIRE_WANTED, WIRE_WAIT_NS);
        }
    }
}

/// The sealing object that shares its socket with this opening one; found by the record at `at`, which has just arrived.
#[inline(always)]
pub fn partner(object: u64, at: u64, nonce: Option<u64>) -> Option<ConnectionKey> {
    let own = key_of(object);
    // SAFETY: the value is copied out at once.
    if let Some(alias) = unsafe { ALIASES.get(&own) } {
        let alias = *alias;
        if let Some(connection) = CONNECTIONS.get_ptr(&alias.key)
            // SAFETY: a live element of the LRU map.
            && unsafe { (*connection).id } == alias.connection
        {
            return Some(alias.key);
        }
        let _ = ALIASES.remove(&own);
    }
    let wire = content(at, nonce)?;
    // SAFETY: the values are copied out at once.
    let cookie = *(unsafe { HEARD.get(&wire) })?;
    // SAFETY: as above.
    let key = *(unsafe { BOUND.get(&cookie) })?;
    if key.tgid != own.tgid {
        return None;
    }
    let connection = CONNECTIONS.get_ptr(&key)?;
    // SAFETY: a live element of the LRU map.
    let alias = Alias { key, connection: unsafe { (*connection).id } };
    let _ = ALIASES.insert(&own, &alias, 0);
    Some(key)
}

/// proto: int EVP_AEAD_CTX_open(const EVP_AEAD_CTX *ctx, uint8_t *out, size_t *out_len, size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *ad, size_t ad_len);
#[uprobe]
pub fn aead_open(ctx: ProbeContext) -> u32 {
    if let Some(arguments) = arguments(&ctx)
        && let Some(plain) = is_record(&arguments.record)
    {
        let record = &arguments.record;
        let nonce = if plain { word(arguments.nonce + 4) } else { None };
        if let Some(key) = partner(record.object, record.input, nonce) {
            enter(&Entry {
                object: key.object,
                buffer: arguments.out,
                length: 0,
                written: arguments.out_len,
                state: CALL_READ,
                flags: FLAGS,
            });
            note(u32::from(plain), 0);
        } else {
            // Records of the handshake have no partner either; they are no loss.
            count(COUNT_RECORD_UNPAIRED);
        }
    }
    never_tail_call(&ctx);
    0
}

/// Bytes of application data in what was opened: in TLS 1.3 a type and zeros may follow the content (RFC 8446, 5.2).
#[inline(always)]
pub fn opened(buffer: u64, length: u64, plain: bool) -> u64 {
    if plain {
        return length;
    }
    let mut end = length;
    let mut walked = 0;
    while walked < PADDING_MAX && end > 0 {
        end -= 1;
        match byte(buffer + end) {
            APPLICATION_DATA => return end,
            0 => {}
            _ => return 0,
        }
        walked += 1;
    }
    0
}

/// Return of an open: the record's content is in the caller's buffer now.
/// proto: int EVP_AEAD_CTX_open(const EVP_AEAD_CTX *ctx, uint8_t *out, size_t *out_len, size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *ad, size_t ad_len);
#[uretprobe]
pub fn aead_open_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let now_call = unsafe { *call };
    let done = now_call.state & CALL_READ != 0 && ctx.ret::<u64>() as u32 == 1;
    let length = if done { word(now_call.written).unwrap_or(0) } else { 0 };
    let got = opened(now_call.buffer, length, now_call.reserved == PLAIN_TYPE);
    if read(call, got) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    }
    let _ = CALLS.remove(&thread);
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}

/// Lets the connection of a call go on by what was opened; says whether its bytes are to be copied now.
#[inline(always)]
pub fn read(call: *mut Call, got: u64) -> bool {
    // SAFETY: a live element that only this thread changes.
    let key = key_of(unsafe { (*call).object });
    if got == 0 {
        return false;
    }
    let Some(connection) = CONNECTIONS.get_ptr_mut(&key) else { return false };
    // SAFETY: live elements; only this thread is inside the object.
    unsafe {
        (*call).offset = (*connection).received;
        (*call).length = got;
        (*call).flags = (*connection).flags;
        (*connection).received += got;
    }
    wait(&AEAD_UNTIL, HEARD_WAIT_NS);
    true
}
