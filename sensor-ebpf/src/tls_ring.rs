//! Records of TLS come by where ring seals and opens them; plaintext of application data goes out, like that of a library.
//!
//! ring's assembly sees a record in pieces, and which pieces depends on the processor. Above it, each algorithm is a table
//! of Rust functions that are called with a whole record, in place, whatever the processor can. Where a compiler has put
//! their arguments is no promise: a call counts only where what stands there as additional data is that of a TLS record,
//! and tells just the length of what is sealed or opened.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use sensor_common::limits::WIRE_KEY_LEN;
use sensor_common::names::TAIL_COPY;
use sensor_common::state::{CALL_READ, CALL_WRITE, COUNT_RECORD_UNPAIRED};

use crate::maps::{CALLS, TAILS, count};
use crate::tls::{Entry, commit, enter, never_tail_call};
use crate::tls_aead::{
    AD_TLS12, AD_TLS13, FLAGS, PLAIN_TYPE, Record, byte, expect, is_record, note, opened, partner,
    read, seal, word,
};

/// Bytes of a tag.
const TAG_LEN: u64 = 16;
/// Bytes of the nonce that AES-GCM in TLS 1.2 puts before the content (RFC 5288, 3).
const EXPLICIT_LEN: u64 = 8;
/// `Call.reserved`: these bytes stand before the content.
const EXPLICIT: u32 = 2;

/// What a call is about.
struct Arguments {
    /// Where the result is written: a byte that is 0 where it succeeds, then the tag.
    result: u64,
    /// The last eight bytes of the nonce.
    nonce: u64,
    /// What is in place is both what goes in and what comes out.
    record: Record,
    /// Of an opening, how many bytes stand before the record's content.
    skipped: u64,
}

/// Registers and words of the stack behind the key: the nonce, by address or in two registers, the additional data, the
/// record, and of an opening where the record's content begins. Before them, where the result is written, and the key.
struct Words {
    result: u64,
    key: u64,
    rest: [u64; 7],
}

/// Six in registers, the others on the stack above the return address; the result's place is the first.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn words(ctx: &ProbeContext) -> Option<Words> {
    // SAFETY: the context of a uprobe is the registers of the thread.
    let stack = unsafe { (*ctx.regs).rsp };
    Some(Words {
        result: ctx.arg::<u64>(0)?,
        key: ctx.arg::<u64>(1)?,
        rest: [
            ctx.arg::<u64>(2)?,
            ctx.arg::<u64>(3)?,
            ctx.arg::<u64>(4)?,
            ctx.arg::<u64>(5)?,
            word(stack + 8)?,
            word(stack + 16)?,
            word(stack + 24)?,
        ],
    })
}

/// Eight in registers, the others on the stack; the result's place has a register of its own (AAPCS64, 6.9).
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn words(ctx: &ProbeContext) -> Option<Words> {
    // SAFETY: the context of a uprobe is the registers of the thread.
    let result = unsafe { (*ctx.regs).regs[8] };
    Some(Words {
        result,
        key: ctx.arg::<u64>(0)?,
        rest: [
            ctx.arg::<u64>(1)?,
            ctx.arg::<u64>(2)?,
            ctx.arg::<u64>(3)?,
            ctx.arg::<u64>(4)?,
            ctx.arg::<u64>(5)?,
            ctx.arg::<u64>(6)?,
            ctx.arg::<u64>(7)?,
        ],
    })
}

#[cfg(not(any(bpf_target_arch = "x86_64", bpf_target_arch = "aarch64")))]
#[inline(always)]
fn words(_ctx: &ProbeContext) -> Option<Words> {
    None
}

#[inline(always)]
fn arguments(ctx: &ProbeContext) -> Option<Arguments> {
    let Words { result, key, rest: [first, second, third, fourth, fifth, sixth, seventh] } =
        words(ctx)?;
    let is_ad = |length: u64| length == AD_TLS13 || length == AD_TLS12;
    let (nonce, ad, ad_len, input, length, skipped) = if is_ad(third) {
        (word(first + 4)?, second, third, fourth, fifth, sixth)
    } else if is_ad(fourth) {
        ((first >> 32) | (second << 32), third, fourth, fifth, sixth, seventh)
    } else {
        return None;
    };
    let record = Record { object: key, input, length, ad, ad_len };
    Some(Arguments { result, nonce, record, skipped })
}

/// Whether the additional data tells that the record has this many bytes without what stands around them.
#[inline(always)]
fn tells(record: &Record, plain: bool, length: u64) -> bool {
    let at = record.ad + record.ad_len - 2;
    let told = u64::from(u16::from_be_bytes([byte(at), byte(at + 1)]));
    // In TLS 1.3 it is that of the record as it is sent (RFC 8446, 5.2), in TLS 1.2 that of the content (RFC 5246, 6.2.3.3).
    told == if plain { length } else { length + TAG_LEN }
}

/// What the program at the return has to know.
const fn noted(plain: bool, explicit: bool) -> u32 {
    (if plain { PLAIN_TYPE } else { 0 }) | (if explicit { EXPLICIT } else { 0 })
}

/// Bytes between the record's head and its content.
const fn before_content(noted: u32) -> u64 {
    if noted & EXPLICIT != 0 { EXPLICIT_LEN } else { 0 }
}

/// proto: fn ring::aead::aes_gcm_seal(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;
#[uprobe]
pub fn ring_seal(ctx: ProbeContext) -> u32 {
    if let Some(Arguments { result, nonce, record, .. }) = arguments(&ctx)
        && let Some(plain) = is_record(&record)
        && tells(&record, plain, record.length)
        && seal(&record, plain, result)
    {
        let explicit = plain && word(record.input - EXPLICIT_LEN) == Some(nonce);
        note(noted(plain, explicit), 0);
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    }
    never_tail_call(&ctx);
    0
}

/// Return of a seal: the record is ready but for its tag, and will be on the wire.
/// proto: fn ring::aead::chacha20_poly1305_seal(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;
#[uretprobe]
pub fn ring_seal_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let call = unsafe { *call };
    let _ = CALLS.remove(&thread);
    if call.state & CALL_WRITE != 0 {
        let done = byte(call.written) == 0;
        let before = before_content(call.reserved);
        // The tag is not behind a shorter record yet: the next one is looked for.
        if done && call.length + before >= WIRE_KEY_LEN as u64 {
            expect(&call, call.buffer - before, None);
        }
        commit(&call, if done { call.length } else { 0 });
    }
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}

/// proto: fn ring::aead::aes_gcm_open(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], src: RangeFrom<usize>, cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;
#[uprobe]
pub fn ring_open(ctx: ProbeContext) -> u32 {
    if let Some(Arguments { result, record, skipped, .. }) = arguments(&ctx)
        && let Some(plain) = is_record(&record)
        && (skipped == 0 || (plain && skipped == EXPLICIT_LEN))
        && record.length > skipped
        && tells(&record, plain, record.length - skipped)
    {
        open(&record, noted(plain, skipped != 0), result);
    }
    never_tail_call(&ctx);
    0
}

#[inline(always)]
fn open(record: &Record, noted: u32, result: u64) {
    let Some(key) = partner(record.object, record.input, None) else {
        // Records of the handshake have no partner either; they are no loss.
        return count(COUNT_RECORD_UNPAIRED);
    };
    enter(&Entry {
        object: key.object,
        buffer: record.input,
        length: record.length - before_content(noted),
        written: result,
        state: CALL_READ,
        flags: FLAGS,
    });
    note(noted, 0);
}

/// Whether the tag that was worked out is the one that came behind the record.
#[inline(always)]
fn is_whole(result: u64, tag: u64) -> bool {
    let same = |at: u64| word(result + 1 + at).is_some_and(|half| word(tag + at) == Some(half));
    byte(result) == 0 && same(0) && same(8)
}

/// Return of an open: the record's content is in place now, and whoever called compares the tags.
/// proto: fn ring::aead::chacha20_poly1305_open(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], src: RangeFrom<usize>, cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;
#[uretprobe]
pub fn ring_open_done(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let now = unsafe { *call };
    let tag = now.buffer + now.length + before_content(now.reserved);
    if now.state & CALL_READ != 0
        && is_whole(now.written, tag)
        && read(call, opened(now.buffer, now.length, now.reserved & PLAIN_TYPE != 0))
    {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    }
    let _ = CALLS.remove(&thread);
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}
