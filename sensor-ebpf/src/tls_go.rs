//! Entries and exits of Go's `crypto/tls` come by; plaintext records, commits and ends go out.
//!
//! A goroutine moves between threads and its stack moves in memory. So a call is known by its goroutine and by how deep
//! its frame lies below the upper end of the stack, and exits are probes on the function's return instructions: a
//! return probe would write into a stack that the runtime walks and copies.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::names::TAIL_COPY;
use sensor_common::record::FAMILY_GO;
use sensor_common::state::{
    CALL_DETACHED, CALL_READ, CALL_WRITE, COUNT_CALL_TABLE_FULL, COUNT_RETURN_WITHOUT_ENTRY, Call,
    GoCallKey,
};

use crate::maps::{CALLS, CONNECTIONS, GO_CALLS, TAILS, count};
use crate::tls::{Entry, call_of, commit, connection, family, key_of, never_tail_call};
use crate::tls_bind::{forget, outgoing, record_at};

const FLAGS: u32 = family(FAMILY_GO);

/// The first three words of arguments or results, the goroutine and the stack pointer (Go's `ABIInternal`).
struct Registers {
    first: u64,
    second: u64,
    third: u64,
    goroutine: u64,
    stack: u64,
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn registers(ctx: &ProbeContext) -> Registers {
    // SAFETY: the context of a probe is the registers of the thread.
    let regs = unsafe { &*ctx.regs };
    Registers {
        first: regs.rax,
        second: regs.rbx,
        third: regs.rcx,
        goroutine: regs.r14,
        stack: regs.rsp,
    }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn registers(ctx: &ProbeContext) -> Registers {
    // SAFETY: the context of a probe is the registers of the thread.
    let regs = unsafe { &*ctx.regs };
    Registers {
        first: regs.regs[0],
        second: regs.regs[1],
        third: regs.regs[2],
        goroutine: regs.regs[28],
        stack: regs.sp,
    }
}

/// Lower and upper end of a goroutine's stack: its first two words, whose place is part of the runtime's contract.
#[inline(always)]
fn stack_of(goroutine: u64) -> Option<[u64; 2]> {
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { bpf_probe_read_user(goroutine as *const [u64; 2]) }.ok()
}

#[inline(always)]
fn key(registers: &Registers, upper: u64) -> GoCallKey {
    GoCallKey {
        goroutine: registers.goroutine,
        tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        depth: upper.wrapping_sub(registers.stack) as u32,
    }
}

/// proto: func crypto/tls.Conn.Write(c *Conn, b []byte) (n int, err error);
#[uprobe]
pub fn go_write(ctx: ProbeContext) -> u32 {
    let registers = registers(&ctx);
    let Some([_, upper]) = stack_of(registers.goroutine) else { return 0 };
    let entry = Entry {
        object: registers.first,
        buffer: registers.second,
        length: registers.third,
        written: 0,
        state: CALL_WRITE | CALL_DETACHED,
        flags: FLAGS,
    };
    let Some(call) = call_of(&entry) else { return 0 };
    if GO_CALLS.insert(&key(&registers, upper), &call, 0).is_err()
        || CALLS.insert(&bpf_get_current_pid_tgid(), &call, 0).is_err()
    {
        count(COUNT_CALL_TABLE_FULL);
        return 0;
    }
    // SAFETY: the tail-called program has the same type and context.
    unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    0
}

/// The call that a goroutine returns from.
#[inline(always)]
fn leave(registers: &Registers, upper: u64) -> Option<Call> {
    let key = key(registers, upper);
    let call = GO_CALLS.get_ptr(&key)?;
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let call = unsafe { *call };
    let _ = GO_CALLS.remove(&key);
    Some(call)
}

/// On each return instruction: says how many bytes were accepted.
/// proto: func crypto/tls.Conn.Write(c *Conn, b []byte) (n int, err error);
#[uprobe]
pub fn go_write_done(ctx: ProbeContext) -> u32 {
    let registers = registers(&ctx);
    let Some([_, upper]) = stack_of(registers.goroutine) else { return 0 };
    let Some(call) = leave(&registers, upper) else { return 0 };
    if call.state & CALL_WRITE == 0 {
        count(COUNT_RETURN_WITHOUT_ENTRY);
        return 0;
    }
    let accepted = registers.first as i64;
    commit(&call, if accepted > 0 { accepted as u64 } else { 0 });
    never_tail_call(&ctx);
    0
}

/// proto: func crypto/tls.Conn.Read(c *Conn, b []byte) (n int, err error);
#[uprobe]
pub fn go_read(ctx: ProbeContext) -> u32 {
    let registers = registers(&ctx);
    let Some([lower, upper]) = stack_of(registers.goroutine) else { return 0 };
    let buffer = registers.second;
    // A buffer on the stack moves with it: its distance from the upper end stays.
    let on_stack = buffer >= lower && buffer < upper;
    let entry = Entry {
        object: registers.first,
        buffer,
        length: 0,
        written: if on_stack { upper - buffer } else { 0 },
        state: CALL_READ,
        flags: FLAGS,
    };
    if let Some(call) = call_of(&entry)
        && GO_CALLS.insert(&key(&registers, upper), &call, 0).is_err()
    {
        count(COUNT_CALL_TABLE_FULL);
    }
    never_tail_call(&ctx);
    0
}

/// On each return instruction: the bytes are in the caller's buffer now.
/// proto: func crypto/tls.Conn.Read(c *Conn, b []byte) (n int, err error);
#[uprobe]
pub fn go_read_done(ctx: ProbeContext) -> u32 {
    let registers = registers(&ctx);
    let Some([_, upper]) = stack_of(registers.goroutine) else { return 0 };
    let Some(mut call) = leave(&registers, upper) else { return 0 };
    let got = registers.first as i64;
    if call.state & CALL_READ == 0 || got <= 0 {
        return 0;
    }
    let Some(connection) = CONNECTIONS.get_ptr_mut(&key_of(call.object)) else { return 0 };
    if call.written != 0 {
        call.buffer = upper.wrapping_sub(call.written);
    }
    call.length = got as u64;
    // SAFETY: a live element of the LRU map; crypto/tls reads under a lock of the connection.
    unsafe {
        call.offset = (*connection).received;
        call.flags = (*connection).flags;
        (*connection).received += got as u64;
    }
    if CALLS.insert(&bpf_get_current_pid_tgid(), &call, 0).is_err() {
        count(COUNT_CALL_TABLE_FULL);
        return 0;
    }
    // SAFETY: the tail-called program has the same type and context.
    unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    0
}

/// Records on their way out; a ClientHello begins a connection, also one at the address of an earlier one.
/// proto: func crypto/tls.Conn.write(c *Conn, data []byte) (n int, err error);
#[uprobe]
pub fn go_record(ctx: ProbeContext) -> u32 {
    let registers = registers(&ctx);
    let key = key_of(registers.first);
    if let Some((_, true)) = record_at(registers.second) {
        if let Some(connection) = CONNECTIONS.get_ptr_mut(&key) {
            // SAFETY: a live element of the LRU map, as above.
            let used = unsafe { (*connection).sent | (*connection).received };
            if used != 0 {
                forget(&key);
            }
        }
        let _ = connection(&key, FLAGS);
    }
    outgoing(&key, registers.second);
    never_tail_call(&ctx);
    0
}

/// proto: func crypto/tls.Conn.Close(c *Conn) (err error);
#[uprobe]
pub fn go_close(ctx: ProbeContext) -> u32 {
    forget(&key_of(registers(&ctx).first));
    never_tail_call(&ctx);
    0
}
