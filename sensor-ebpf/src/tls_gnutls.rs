//! Entries of GnuTLS's functions come by; plaintext records, names and ends go out.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::names::TAIL_COPY;
use sensor_common::record::FAMILY_GNUTLS;
use sensor_common::state::{CALL_HANDSHAKE, CALL_READ, CALL_WRITE};

use crate::maps::TAILS;
use crate::tls::{Entry, enter, family, key_of, never_tail_call};
use crate::tls_bind::{forget, set_name};

const FLAGS: u32 = family(FAMILY_GNUTLS);
/// `GNUTLS_NAME_DNS` (gnutls/gnutls.h).
const NAME_DNS: u64 = 1;

#[inline(always)]
fn send(ctx: &ProbeContext) -> u32 {
    let (Some(object), Some(buffer), Some(length)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2))
    else {
        return 0;
    };
    if enter(&Entry { object, buffer, length, written: 0, state: CALL_WRITE, flags: FLAGS }) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(ctx, TAIL_COPY) };
    }
    0
}

#[inline(always)]
fn receive(ctx: &ProbeContext) -> u32 {
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    enter(&Entry { object, buffer, length: 0, written: 0, state: CALL_READ, flags: FLAGS });
    never_tail_call(ctx);
    0
}

/// proto: ssize_t gnutls_record_send(gnutls_session_t session, const void *data, size_t data_size);
#[uprobe]
pub fn gnutls_send(ctx: ProbeContext) -> u32 {
    send(&ctx)
}

/// proto: ssize_t gnutls_record_send2(gnutls_session_t session, const void *data, size_t data_size, size_t pad, unsigned flags);
#[uprobe]
pub fn gnutls_send2(ctx: ProbeContext) -> u32 {
    send(&ctx)
}

/// proto: ssize_t gnutls_record_recv(gnutls_session_t session, void *data, size_t data_size);
#[uprobe]
pub fn gnutls_recv(ctx: ProbeContext) -> u32 {
    receive(&ctx)
}

/// proto: ssize_t gnutls_record_recv_seq(gnutls_session_t session, void *data, size_t data_size, unsigned char *seq);
#[uprobe]
pub fn gnutls_recv_seq(ctx: ProbeContext) -> u32 {
    receive(&ctx)
}

/// proto: int gnutls_handshake(gnutls_session_t session);
#[uprobe]
pub fn gnutls_handshake(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    enter(&Entry { object, buffer: 0, length: 0, written: 0, state: CALL_HANDSHAKE, flags: FLAGS });
    never_tail_call(&ctx);
    0
}

/// proto: int gnutls_server_name_set(gnutls_session_t session, gnutls_server_name_type_t type, const void *name, size_t name_length);
#[uprobe]
pub fn gnutls_server_name(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(kind), Some(name), Some(length)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2), ctx.arg::<u64>(3))
    else {
        return 0;
    };
    if kind & 0xffff_ffff == NAME_DNS && name != 0 {
        set_name(object, name, length, FLAGS);
    }
    never_tail_call(&ctx);
    0
}

/// proto: void gnutls_deinit(gnutls_session_t session);
#[uprobe]
pub fn gnutls_deinit(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    forget(&key_of(object));
    never_tail_call(&ctx);
    0
}
