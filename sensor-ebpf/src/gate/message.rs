//! Messages of watched sockets come by before they become packets; what may not leave is refused.

use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{
    bpf_msg_apply_bytes, bpf_msg_cork_bytes, bpf_msg_pull_data, bpf_probe_read_kernel,
};
use aya_ebpf::macros::sk_msg;
use aya_ebpf::programs::SkMsgContext;
use sensor_common::gate::{
    ACTION_ALLOW, ACTION_DENY, CLASS_UNKNOWN, DESTINATION_NONE, EVENT_UNSEEN, GATE_COUNT_BOUND,
    GATE_COUNT_UNSEEN_PASSED, GATE_OPAQUE, GATE_REFUSED, GATE_TLS, Gate, HTTP_HEAD, LAYER_CHANGE,
    LAYER_CONTENT, LAYER_NAME, LAYER_OPAQUE, Object, Owner, REASON_HEAD_UNREADABLE,
    REASON_HELLO_HIDDEN, REASON_HELLO_UNREADABLE, REASON_RECORD_UNSEEN, RULE_OPAQUE, RuleKey,
    SCOPE_CONTENT, SCOPE_NAMES, SCOPE_REFUSE_OPAQUE, STATE_AI, STATE_AWAIT, STATE_OTHER, Verdict,
};
use sensor_common::limits::{
    GREETING_BYTES_MAX, HELLO_BYTES_MAX, HELLO_MESSAGES_MAX, WIRE_KEY_LEN,
};
use sensor_common::names::{TAIL_HELLO, TAIL_NAME};

use crate::connect::{note, tells};
use crate::hello::{Said, listen, look_up};
use crate::maps::{MARKS, MESSAGE_TAILS, OBJECTS, RECORDS, count, now};
use crate::rules::{
    EACCES, Report, is_content_panic, is_panic, refusal, refused, refuses, report, rule,
};
use crate::socket::gate;
use crate::subject::{class_of_process, scope_of, tgid};

/// Verdict: the message leaves.
const PASS: u32 = 1;
/// Verdict: the write fails with `EACCES`, and so does every later one on the socket.
const DROP: u32 = 0;
/// TLS record type of application data (RFC 8446, 5.1).
const RECORD_APPLICATION: u8 = 0x17;
/// Types of TLS records (RFC 8446, 5.1).
const RECORD_TYPES: core::ops::RangeInclusive<u8> = 0x14..=0x18;
/// Type, version and length of a record.
const RECORD_HEAD_LEN: usize = 5;
/// What identifies a record: its head, and the begin of its content.
const RECORD_PROOF_LEN: usize = RECORD_HEAD_LEN + WIRE_KEY_LEN;
/// Bytes that may leave without another look: what is known to be no AI traffic.
const WITHOUT_LOOKING: u32 = u32::MAX >> 1;

/// Judges each message of a watched socket.
#[sk_msg]
pub fn gate_message(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context is valid for the run of the program.
    let socket = unsafe { core::ptr::read_volatile(&raw const (*ctx.msg).__bindgen_anon_3.sk) };
    let kept = gate(socket);
    if kept.is_null() {
        return PASS;
    }
    judge(&ctx, kept)
}

#[inline(always)]
fn judge(ctx: &SkMsgContext, kept: *mut Gate) -> u32 {
    // SAFETY: the storage of a live socket.
    let (cookie, class, destination) =
        unsafe { ((*kept).cookie, (*kept).class, (*kept).destination) };
    // SAFETY: as above.
    let (state, flags) = unsafe { ((*kept).state, (*kept).flags) };
    let mut spared = false;
    // SAFETY: the value is copied out at once.
    if let Some(mark) = unsafe { MARKS.get(&cookie) }
        && (mark.expires_ns == 0 || mark.expires_ns > now())
    {
        let mark = *mark;
        if refuses(&mark) {
            let layer = if mark.layer == 0 { LAYER_CHANGE } else { mark.layer };
            return drop(kept, layer, &mark, class);
        }
        // A connection that rules of later leave alone; a panic does not.
        spared = mark.action == ACTION_ALLOW && !is_panic();
    }
    // A socket may have been handed to another process: what is forbidden to either is forbidden.
    let writer = class_of_process(tgid());
    let writer = if writer == CLASS_UNKNOWN { class } else { writer };
    if state == STATE_AI && !spared {
        if let Some(verdict) = refused(class, destination) {
            return drop(kept, LAYER_CHANGE, &verdict, class);
        }
        if writer != class
            && let Some(verdict) = refused(writer, destination)
        {
            return drop(kept, LAYER_CHANGE, &verdict, writer);
        }
    }
    let mut scope = scope_of(writer);
    if state == STATE_AWAIT {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { MESSAGE_TAILS.tail_call(ctx, TAIL_HELLO) };
        return opaque(kept, scope, REASON_HELLO_UNREADABLE);
    }
    if is_content_panic() {
        scope |= SCOPE_CONTENT;
    }
    if scope & SCOPE_CONTENT != 0 && (state == STATE_AI || flags & GATE_TLS != 0) {
        return content(ctx, kept, scope);
    }
    if state == STATE_OTHER {
        // What is known to be no AI traffic passes from now on without another look.
        // SAFETY: the context is the program's own.
        unsafe { bpf_msg_apply_bytes(ctx.msg, WITHOUT_LOOKING) };
    }
    settle(kept, PASS, ctx.size())
}

/// Listens to the first messages of a socket.
#[sk_msg]
pub fn gate_hello(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context is valid for the run of the program.
    let socket = unsafe { core::ptr::read_volatile(&raw const (*ctx.msg).__bindgen_anon_3.sk) };
    let kept = gate(socket);
    if kept.is_null() {
        return PASS;
    }
    // SAFETY: the storage of a live socket.
    let class = unsafe { (*kept).class };
    let writer = class_of_process(tgid());
    let verdict = begin(&ctx, kept, scope_of(if writer == CLASS_UNKNOWN { class } else { writer }));
    settle(kept, verdict, ctx.size())
}

/// Notes what became of so many bytes.
#[inline(always)]
fn settle(kept: *mut Gate, verdict: u32, bytes: u32) -> u32 {
    // SAFETY: the storage of a live socket.
    unsafe {
        if verdict == DROP {
            (*kept).flags |= GATE_REFUSED;
        } else {
            (*kept).sent += u64::from(bytes);
        }
    }
    verdict
}

/// Refuses the message.
#[inline(always)]
fn drop(kept: *const Gate, layer: u32, verdict: &Verdict, class: u32) -> u32 {
    report(kept, &refusal(layer, verdict, EACCES, class));
    DROP
}

/// Refuses what cannot be seen where the class says so, and tells of it in any case.
#[inline(always)]
fn opaque(kept: *mut Gate, scope: u32, reason: u32) -> u32 {
    // SAFETY: the storage of a live socket.
    let (class, flags, destination) =
        unsafe { ((*kept).class, (*kept).flags, (*kept).destination) };
    let writer = class_of_process(tgid());
    let class = if writer == CLASS_UNKNOWN { class } else { writer };
    let told = RuleKey { class, kind: RULE_OPAQUE, value: [u64::from(destination), 0] };
    if let Some(verdict) = rule(&told, now())
        && refuses(&verdict)
    {
        return drop(kept, LAYER_OPAQUE, &verdict, class);
    }
    if scope & SCOPE_REFUSE_OPAQUE != 0 {
        let verdict = Verdict { action: ACTION_DENY, reason, ..Verdict::default() };
        return drop(kept, LAYER_OPAQUE, &verdict, class);
    }
    if flags & GATE_OPAQUE == 0 {
        // SAFETY: the storage of a live socket.
        unsafe { (*kept).flags |= GATE_OPAQUE };
        let thread = aya_ebpf::helpers::bpf_get_current_pid_tgid();
        let flags = EVENT_UNSEEN;
        report(kept, &Report { flags, layer: LAYER_OPAQUE, reason, errno: 0, class, thread });
    }
    count(GATE_COUNT_UNSEEN_PASSED);
    PASS
}

/// Makes at least the first `wanted` bytes of the message readable; says where they begin and how many there are.
#[inline(always)]
fn readable(msg: *mut sk_msg_md, size: u32, wanted: u32) -> (usize, usize) {
    let wanted = if size < wanted { size } else { wanted };
    // SAFETY: the context is the program's own; its pointers are read anew behind this.
    unsafe { bpf_msg_pull_data(msg, 0, wanted, 0) };
    // SAFETY: the context is valid for the run of the program.
    unsafe {
        (
            core::ptr::read_volatile(&raw const (*msg).__bindgen_anon_1.data) as usize,
            core::ptr::read_volatile(&raw const (*msg).__bindgen_anon_2.data_end) as usize,
        )
    }
}

/// The first messages of a socket: a ClientHello tells where it leads.
#[inline(always)]
fn begin(ctx: &SkMsgContext, kept: *mut Gate, scope: u32) -> u32 {
    let size = ctx.size();
    let (data, end) = readable(ctx.msg, size, HELLO_BYTES_MAX as u32);
    let length = (end - data) as u32;
    if length == 0 {
        return PASS;
    }
    match listen(kept, data, length) {
        Said::Part => PASS,
        Said::Hello => {
            // SAFETY: the tail-called program has the same type and context.
            unsafe { MESSAGE_TAILS.tail_call(ctx, TAIL_NAME) };
            opaque(kept, scope | SCOPE_REFUSE_OPAQUE, REASON_HELLO_UNREADABLE)
        }
        Said::Unreadable => unreadable(kept, scope),
        Said::Other => other(kept, scope),
    }
}

/// A ClientHello whose name cannot be read: it may be a forbidden one only where something is forbidden.
#[inline(always)]
fn unreadable(kept: *mut Gate, scope: u32) -> u32 {
    // SAFETY: the storage of a live socket.
    let destination = unsafe { (*kept).destination };
    let hint = destination != DESTINATION_NONE;
    if scope & (SCOPE_NAMES | SCOPE_REFUSE_OPAQUE) != 0 || (hint && is_panic()) {
        return opaque(kept, scope | SCOPE_REFUSE_OPAQUE, REASON_HELLO_UNREADABLE);
    }
    // SAFETY: as above.
    unsafe {
        (*kept).flags |= GATE_TLS;
        (*kept).state = if hint { STATE_AI } else { STATE_OTHER };
    }
    if hint { opaque(kept, scope, REASON_HELLO_UNREADABLE) } else { PASS }
}

/// A message that is no ClientHello.
#[inline(always)]
fn other(kept: *mut Gate, scope: u32) -> u32 {
    // SAFETY: the storage of a live socket.
    let (destination, messages, sent) = unsafe {
        (*kept).messages += 1;
        ((*kept).destination, (*kept).messages, (*kept).sent)
    };
    if destination != DESTINATION_NONE && tells(kept) {
        // To an AI address, and not a handshake: nothing says what it is.
        return opaque(kept, scope, REASON_RECORD_UNSEEN);
    }
    if messages >= HELLO_MESSAGES_MAX && sent >= GREETING_BYTES_MAX {
        // SAFETY: as above.
        unsafe { (*kept).state = STATE_OTHER };
    }
    PASS
}

/// Judges a ClientHello by its name.
#[sk_msg]
pub fn gate_name(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context is valid for the run of the program.
    let socket = unsafe { core::ptr::read_volatile(&raw const (*ctx.msg).__bindgen_anon_3.sk) };
    let kept = gate(socket);
    if kept.is_null() {
        return PASS;
    }
    let (leads, owner) = look_up(kept);
    // SAFETY: the storage of a live socket.
    let (class, hint, length, hidden, part) = unsafe {
        ((*kept).class, (*kept).destination, (*kept).span[1], (*kept).hidden, (*kept).part)
    };
    // What follows in the same message is looked at by itself.
    // SAFETY: the context is the program's own.
    unsafe { bpf_msg_apply_bytes(ctx.msg, part) };
    // The address is a hint where there is no name; a name decides against it.
    let destination = if length != 0 { leads } else { hint };
    // SAFETY: the storage of a live socket.
    unsafe {
        (*kept).destination = destination;
        (*kept).flags |= GATE_TLS;
        (*kept).state = if destination == DESTINATION_NONE { STATE_OTHER } else { STATE_AI };
    }
    if let Some(owner) = owner {
        tie(kept, &owner);
    }
    if let Some(verdict) = refused(class, destination) {
        return settle(kept, drop(kept, LAYER_NAME, &verdict, class), part);
    }
    let mut verdict = PASS;
    if hidden != 0 && hint != DESTINATION_NONE && destination != hint {
        // The address is an AI provider's, the visible name is not, and there is a hidden one.
        verdict = opaque(kept, scope_of(class), REASON_HELLO_HIDDEN);
    }
    if destination != DESTINATION_NONE {
        note(kept);
    }
    settle(kept, verdict, part)
}

/// Tells a TLS object and a socket of each other.
#[inline(always)]
fn tie(kept: *mut Gate, owner: &Owner) {
    if let Some(object) = OBJECTS.get_ptr_mut(&owner.key) {
        // SAFETY: a live element of the LRU map, and the storage of a live socket.
        unsafe {
            (*kept).object = owner.key;
            (*object).cookie = (*kept).cookie;
            if (*object).http == HTTP_HEAD && (*object).destination == DESTINATION_NONE {
                (*object).destination = (*kept).destination;
            }
        }
        count(GATE_COUNT_BOUND);
    }
}

/// One TLS record of a socket whose requests are judged: it passes if the probes saw it go out and its request may.
#[inline(always)]
fn content(ctx: &SkMsgContext, kept: *mut Gate, scope: u32) -> u32 {
    let size = ctx.size();
    let (data, end) = readable(ctx.msg, size, RECORD_PROOF_LEN as u32);
    let mut head = [0u8; RECORD_HEAD_LEN];
    let length = end - data;
    if length < RECORD_HEAD_LEN {
        // A peer can do nothing with less than a record's head: waiting for its rest stalls nobody.
        // SAFETY: the context is the program's own.
        unsafe { bpf_msg_cork_bytes(ctx.msg, RECORD_HEAD_LEN as u32) };
        return PASS;
    }
    // SAFETY: a probe read of any address is safe; a bad one gives an error, and the head stays zero.
    unsafe {
        bpf_probe_read_kernel(head.as_mut_ptr().cast(), RECORD_HEAD_LEN as u32, data as *const _)
    };
    if !RECORD_TYPES.contains(&head[0]) || head[1] != 3 {
        return unseen(kept, scope);
    }
    let content = u32::from(u16::from_be_bytes([head[3], head[4]]));
    let whole = RECORD_HEAD_LEN as u32 + content;
    let proof = if content < WIRE_KEY_LEN as u32 { whole } else { RECORD_PROOF_LEN as u32 };
    if (length as u32) < proof {
        // SAFETY: the context is the program's own.
        unsafe { bpf_msg_cork_bytes(ctx.msg, proof) };
        return PASS;
    }
    // The verdict holds for this record; the kernel asks again for the next one.
    // SAFETY: the context is the program's own.
    unsafe { bpf_msg_apply_bytes(ctx.msg, whole) };
    let bytes = if size < whole { size } else { whole };
    if head[0] != RECORD_APPLICATION {
        return settle(kept, PASS, bytes);
    }
    let mut key = [0u8; WIRE_KEY_LEN];
    let mut wanted = u64::from(proof - RECORD_HEAD_LEN as u32);
    if wanted > WIRE_KEY_LEN as u64 {
        wanted = WIRE_KEY_LEN as u64;
    }
    // SAFETY: the helper writes at most the array; a probe read of any address is safe.
    unsafe {
        bpf_probe_read_kernel(
            key.as_mut_ptr().cast(),
            (wanted & 0x3f) as u32,
            (data + RECORD_HEAD_LEN) as *const _,
        )
    };
    let verdict = record(kept, &key, scope);
    settle(kept, verdict, bytes)
}

/// One record of application data, known by the begin of its content.
#[inline(always)]
fn record(kept: *mut Gate, key: &[u8; WIRE_KEY_LEN], scope: u32) -> u32 {
    // SAFETY: the value is copied out at once.
    let Some(owner) = (unsafe { RECORDS.get(key) }) else {
        return unseen(kept, scope);
    };
    let owner = *owner;
    let _ = RECORDS.remove(key);
    let Some(object) = OBJECTS.get_ptr_mut(&owner.key) else {
        return unseen(kept, scope);
    };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let Object { id, cookie, class, verdict, unjudged, http, destination, .. } = unsafe { *object };
    if id != owner.id {
        return unseen(kept, scope);
    }
    // SAFETY: the storage of a live socket.
    if cookie != unsafe { (*kept).cookie } {
        tie(kept, &owner);
    }
    if refuses(&verdict) && (verdict.expires_ns == 0 || verdict.expires_ns > now()) {
        return drop(kept, LAYER_CONTENT, &verdict, class);
    }
    // A request for a host that nobody knows, on a connection to one that is known: who answers it is not told.
    let is_astray = destination == DESTINATION_NONE && http != HTTP_HEAD;
    let reason = if unjudged == 0 && is_astray { REASON_HEAD_UNREADABLE } else { unjudged };
    // SAFETY: the storage of a live socket.
    if reason != 0 && unsafe { (*kept).state } == STATE_AI {
        return opaque(kept, scope, reason);
    }
    PASS
}

/// A record that the probes have not seen go out.
#[inline(always)]
fn unseen(kept: *mut Gate, scope: u32) -> u32 {
    // SAFETY: the storage of a live socket.
    if unsafe { (*kept).state } == STATE_AI {
        return opaque(kept, scope, REASON_RECORD_UNSEEN);
    }
    PASS
}
