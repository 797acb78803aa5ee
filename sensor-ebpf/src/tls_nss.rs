//! Entries of NSPR's input and output and of NSS's TLS come by; plaintext records, names and ends go out. What NSS adds to a
//! descriptor of NSPR is called through that descriptor: its address is the object.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::limits::NAME_MAX;
use sensor_common::names::TAIL_COPY;
use sensor_common::record::FAMILY_NSS;
use sensor_common::state::{CALL_HANDSHAKE, CALL_READ, CALL_WRITE};

use crate::maps::TAILS;
use crate::tls::{Entry, enter, family, key_of, never_tail_call};
use crate::tls_bind::{forget, set_name};

const FLAGS: u32 = family(FAMILY_NSS);
/// `PR_MSG_PEEK` (prio.h): what is read so comes again.
const PEEK: u64 = 2;

/// proto: PRInt32 PR_Send(PRFileDesc *fd, const void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);
#[uprobe]
pub fn nss_send(ctx: ProbeContext) -> u32 {
    send(&ctx)
}

/// proto: PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount);
#[uprobe]
pub fn nss_write(ctx: ProbeContext) -> u32 {
    send(&ctx)
}

#[inline(always)]
fn send(ctx: &ProbeContext) -> u32 {
    let (Some(object), Some(buffer), Some(amount)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2))
    else {
        return 0;
    };
    // The argument is an int: the upper half of the register is undefined.
    let length = amount & 0xffff_ffff;
    let length = if length > 0x7fff_ffff { 0 } else { length };
    if enter(&Entry { object, buffer, length, written: 0, state: CALL_WRITE, flags: FLAGS }) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(ctx, TAIL_COPY) };
    }
    0
}

#[inline(always)]
fn receive(ctx: &ProbeContext) -> Option<()> {
    let (object, buffer) = (ctx.arg::<u64>(0)?, ctx.arg::<u64>(1)?);
    enter(&Entry { object, buffer, length: 0, written: 0, state: CALL_READ, flags: FLAGS });
    Some(())
}

/// proto: PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount);
#[uprobe]
pub fn nss_read(ctx: ProbeContext) -> u32 {
    receive(&ctx);
    never_tail_call(&ctx);
    0
}

/// proto: PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);
#[uprobe]
pub fn nss_recv(ctx: ProbeContext) -> u32 {
    if ctx.arg::<u64>(3).is_some_and(|flags| flags & PEEK == 0) {
        receive(&ctx);
    }
    never_tail_call(&ctx);
    0
}

/// proto: SECStatus SSL_ForceHandshake(PRFileDesc *fd);
#[uprobe]
pub fn nss_handshake(ctx: ProbeContext) -> u32 {
    shake(&ctx)
}

/// proto: SECStatus SSL_ForceHandshakeWithTimeout(PRFileDesc *fd, PRIntervalTime timeout);
#[uprobe]
pub fn nss_handshake_within(ctx: ProbeContext) -> u32 {
    shake(&ctx)
}

#[inline(always)]
fn shake(ctx: &ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    enter(&Entry { object, buffer: 0, length: 0, written: 0, state: CALL_HANDSHAKE, flags: FLAGS });
    never_tail_call(ctx);
    0
}

/// proto: SECStatus SSL_SetURL(PRFileDesc *fd, const char *url);
#[uprobe]
pub fn nss_url(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(name)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    if name != 0 {
        set_name(object, name, NAME_MAX as u64, FLAGS);
    }
    never_tail_call(&ctx);
    0
}

/// proto: PRStatus PR_Close(PRFileDesc *fd);
#[uprobe]
pub fn nss_close(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    forget(&key_of(object));
    never_tail_call(&ctx);
    0
}
