//! The begin of a request in plaintext comes in; host, path, credential and model are judged, and the verdict is left at its
//! TLS object and its socket.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::gate::{
    ACTION_ALLOW, DESTINATION_NONE, GATE_COUNT_JUDGED, GATE_COUNT_UNREADABLE, HTTP_2, HTTP_BODY,
    HTTP_BODY_BEGUN, HTTP_BODY_NAMED, HTTP_HEAD, HTTP_UPGRADE, LAYER_CONTENT, Object,
    REASON_HEAD_UNREADABLE, REASON_HTTP_2, REASON_NOT_HTTP, REASON_UNFINISHED, REASON_UNREADABLE,
    SCOPE_KEYS, SCOPE_MODELS, SCOPE_PATH_TAILS, SCOPE_PATHS, Verdict,
};
use sensor_common::limits::{HEAD_BYTES_MAX, LOOK_OVERLAP};
use sensor_common::names::{TAIL_CREDENTIAL, TAIL_JUDGE, TAIL_PATH, TAIL_SCAN};
use sensor_common::scan::{
    Head, MARK_HEAD_END, MARK_HOST, MARK_HOST_END, MARK_KEY_END, MARK_LOOSE_END, MARK_MODEL_END,
    MARK_PATH, MARK_UPGRADE, MARKS_MAX, SCANNER_BODY, SCANNER_FLAT, SCANNER_HEAD,
    SCANNER_TABLE_LEN,
};
use sensor_common::state::{ConnectionKey, NAME_HASH_PRIME};

use crate::looks;
use crate::maps::{GATE_TAILS, HEADS, INSIDE, MARKS, NO_HEAD, OBJECTS, SCANNER, count};
use crate::name::{anew, destination, masked};
use crate::rules::{is_content_panic, refused, refuses};
use crate::subject::scope_of;
use crate::tls::{key_of, never_tail_call};

/// Begin of a connection preface (RFC 9113, 3.4).
const PREFACE: [u8; 4] = *b"PRI ";
/// Bytes in which a method, its blank and the begin of its target stand, behind an empty line that a server overlooks
/// (RFC 9112, 2.2): `OPTIONS` is the longest that carries a request.
const METHOD_SCAN: usize = 12;
/// Bytes of an empty line.
const LINE_END: u64 = 2;
/// Blanks behind a key that are taken off it.
const BLANKS_MAX: u32 = 8;

/// Copies the begin of a write for the scanner; says whether there is anything to judge.
#[inline(always)]
pub fn hold(key: &ConnectionKey, buffer: u64, length: u64) -> bool {
    if length == 0 {
        return false;
    }
    let Some(object) = OBJECTS.get_ptr_mut(key) else { return false };
    if HEADS.get_ptr(key).is_none() {
        let Some(fresh) = NO_HEAD.get(0) else { return false };
        let _ = HEADS.insert(key, fresh, 0);
    }
    let Some(head) = HEADS.get_ptr_mut(key) else { return false };
    let mut room = length;
    // SAFETY: only the named register is changed, to at most the length of the array.
    unsafe {
        asm!("if {0} <= {1} goto +1", "{0} = {1}", inout(reg) room, const HEAD_BYTES_MAX, options(nomem, nostack));
    }
    // SAFETY: the helper writes at most the array; a probe read of any address is safe.
    let failed = unsafe {
        bpf_probe_read_user((&raw mut (*head).bytes).cast(), room as u32, buffer as *const _)
    };
    if failed != 0 {
        return unreadable(object);
    }
    // SAFETY: a live element that only this thread changes; no two threads are inside one TLS object.
    let first = unsafe { (&raw const (*head).bytes).cast::<[u8; METHOD_SCAN]>().read() };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let http = unsafe { (*object).http };
    if http == HTTP_2 {
        return false;
    }
    if [first[0], first[1], first[2], first[3]] == PREFACE {
        // SAFETY: as above.
        unsafe {
            (*object).http = HTTP_2;
            (*object).unjudged = REASON_HTTP_2;
        }
        return false;
    }
    let is_long = room >= METHOD_SCAN as u64;
    let is_behind = is_long && [first[0], first[1]] == *b"\r\n" && begins_request::<2>(&first);
    let starts = is_behind || (is_long && begins_request::<0>(&first));
    if is_behind {
        // Once more, from where it begins: what reads a request reads it from its first byte.
        // SAFETY: as above; what is read is within what was read before.
        let failed = unsafe {
            bpf_probe_read_user(
                (&raw mut (*head).bytes).cast(),
                (room - LINE_END) as u32,
                (buffer + LINE_END) as *const _,
            )
        };
        if failed != 0 {
            return unreadable(object);
        }
        room -= LINE_END;
    }
    let from = if is_behind { buffer + LINE_END } else { buffer };
    if !starts && (http == HTTP_HEAD || http == HTTP_UPGRADE) {
        // SAFETY: as above.
        unsafe { (*object).unjudged = REASON_NOT_HTTP };
        return false;
    }
    // SAFETY: as above.
    unsafe {
        if starts {
            // Stands until the judging has come to its end.
            (*object).unjudged = REASON_UNFINISHED;
        }
        (*head).length = room as u32;
        (*head).buffer = from + room;
        (*head).rest = buffer + length - from - room;
        (*head).looks = 0;
        (*head).state = match (starts, http) {
            (true, _) => SCANNER_HEAD,
            (false, HTTP_BODY) => SCANNER_BODY,
            (false, _) => SCANNER_FLAT,
        };
        if !starts && http == HTTP_BODY {
            (*object).http = HTTP_BODY_BEGUN;
        }
        (*head).marks = [0; MARKS_MAX];
        (*head).counts = [0; MARKS_MAX];
    }
    true
}

/// What could not be copied is counted, and passes for nothing that was judged; there is nothing to judge.
#[inline(always)]
pub fn unreadable(object: *mut Object) -> bool {
    count(GATE_COUNT_UNREADABLE);
    // SAFETY: a live element of the LRU map; only this thread is inside the object.
    unsafe { (*object).unjudged = REASON_UNREADABLE };
    false
}

/// Whether a write begins a request: a method in capitals (RFC 9110, 9.1), a blank, and what a target begins with
/// (RFC 9112, 3.2). A part of a body must not be taken for one, so anything else is none.
#[inline(always)]
fn begins_request<const FROM: usize>(first: &[u8; METHOD_SCAN]) -> bool {
    let mut at = FROM;
    while at < METHOD_SCAN - 1 {
        let byte = first[at];
        if byte == b' ' {
            let target = first[at + 1];
            return at >= FROM + 3 && (target == b'/' || target == b'*' || target == b'h');
        }
        if !byte.is_ascii_uppercase() {
            return false;
        }
        at += 1;
    }
    false
}

/// Runs the scanner over the held bytes: one table look-up a byte, whatever it looks for.
/// proto: none (only ever tail-called)
#[uprobe]
pub fn gate_scan(ctx: ProbeContext) -> u32 {
    let then = scan().unwrap_or(TAIL_JUDGE);
    // SAFETY: the tail-called program has the same type and context.
    unsafe { GATE_TAILS.tail_call(&ctx, then) };
    0
}

/// Says which program comes next.
#[inline(always)]
fn scan() -> Option<u32> {
    let key = held()?;
    let head = HEADS.get_ptr_mut(&key)?;
    let table = SCANNER.get_ptr(0)?.cast::<u16>();
    // SAFETY: a live element that only this thread changes.
    let (mut state, length) = unsafe { ((*head).state, (*head).length) };
    let mut at = 0u32;
    while at < HEAD_BYTES_MAX as u32 {
        if at >= length {
            break;
        }
        if at == HEAD_BYTES_MAX as u32 - LOOK_OVERLAP {
            // SAFETY: as above.
            unsafe { (*head).resumed = state };
        }
        // SAFETY: every index is masked to below the length of its array.
        unsafe {
            let byte = byte(head, at);
            let place = masked::<SCANNER_TABLE_LEN>(((state & 0xff) << 8) | u32::from(byte));
            let next = core::ptr::read_volatile(table.add(place));
            state = u32::from(next & 0xff);
            let mark = masked::<MARKS_MAX>(u32::from(next >> 8));
            core::ptr::write_volatile((&raw mut (*head).marks).cast::<u32>().add(mark), at);
            let counter = (&raw mut (*head).counts).cast::<u32>().add(mark);
            core::ptr::write_volatile(counter, core::ptr::read_volatile(counter) + 1);
        }
        at += 1;
    }
    // SAFETY: as above.
    let (looks, named, loose) =
        unsafe { ((*head).looks, (*head).counts[MARK_MODEL_END], (*head).counts[MARK_LOOSE_END]) };
    if looks == 0 {
        return Some(TAIL_JUDGE);
    }
    if named == 0 && loose == 0 && looks::next(head, OBJECTS.get_ptr_mut(&key)?) {
        return Some(TAIL_SCAN);
    }
    Some(TAIL_CREDENTIAL)
}

/// Key of the object that the thread is inside of.
#[inline(always)]
pub fn held() -> Option<ConnectionKey> {
    let thread = aya_ebpf::helpers::bpf_get_current_pid_tgid();
    // SAFETY: the value is copied out at once.
    Some(key_of(*unsafe { INSIDE.get(&thread) }?))
}

/// Notes where a part stands; says whether the scanner has found it.
#[inline(always)]
pub fn look_at(head: *mut Head, from: usize, to: usize) -> bool {
    // SAFETY: a live element; the indices are constants below the length.
    unsafe {
        let (start, end) = ((*head).marks[from], (*head).marks[to]);
        (*head).span = [start, end.wrapping_sub(start)];
        (*head).counts[from] != 0 && (*head).counts[to] != 0 && end > start
    }
}

/// A byte of the request.
#[inline(always)]
pub fn byte(head: *const Head, at: u32) -> u8 {
    // SAFETY: the index was masked to below the length of the array; the head is a live element.
    unsafe {
        core::ptr::read_volatile(
            (&raw const (*head).bytes).cast::<u8>().add(masked::<HEAD_BYTES_MAX>(at)),
        )
    }
}

/// Judges the host.
/// proto: none (only ever tail-called)
#[uprobe]
pub fn gate_judge(ctx: ProbeContext) -> u32 {
    if let Some(then) = judge() {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { GATE_TAILS.tail_call(&ctx, then) };
    }
    never_tail_call(&ctx);
    0
}

/// What a class is judged by; a panic may be about any key or model.
#[inline(always)]
pub fn judged_by(class: u32) -> u32 {
    let of_panic = if is_content_panic() { SCOPE_KEYS | SCOPE_MODELS } else { 0 };
    scope_of(class) | of_panic
}

/// Says which program comes next.
#[inline(always)]
fn judge() -> Option<u32> {
    let key = held()?;
    let head = HEADS.get_ptr_mut(&key)?;
    let object = OBJECTS.get_ptr_mut(&key)?;
    // SAFETY: live elements; only this thread is inside the object.
    let (known, starts) = unsafe { (*object, (*head).state == SCANNER_HEAD) };
    let scope = judged_by(known.class);
    if !starts {
        // A model at a destination that is none of those known is nobody's business.
        let is_open = scope & SCOPE_MODELS != 0
            && known.http != HTTP_BODY_NAMED
            && known.destination != DESTINATION_NONE;
        return is_open.then_some(TAIL_CREDENTIAL);
    }
    count(GATE_COUNT_JUDGED);
    // SAFETY: as above.
    let (ended, hosts, keys) = unsafe {
        ((*head).counts[MARK_HEAD_END], (*head).counts[MARK_HOST_END], (*head).counts[MARK_KEY_END])
    };
    // SAFETY: as above.
    unsafe { (*object).group = 0 };
    let mut leads = known.destination;
    if look_at(head, MARK_HOST, MARK_HOST_END) {
        // SAFETY: a live element that only this thread changes.
        let (text, span) = unsafe { (&raw const (*head).bytes, &raw const (*head).span) };
        let named = destination::<HEAD_BYTES_MAX>(text.cast(), span);
        // An address has no name by which it is known: the socket's own destination stands. The last label of a name is no
        // number (RFC 3696, 2).
        let last = byte(head, anew(span, 0) + anew(span, 1) - 1);
        if named != DESTINATION_NONE || !(last.is_ascii_digit() || last == b']') {
            leads = named;
        }
    }
    if let Some(verdict) = refused(known.class, leads) {
        leave(object, &verdict, leads);
        return None;
    }
    leave(object, &Verdict { action: ACTION_ALLOW, ..Verdict::default() }, leads);
    let is_key_hidden = scope & SCOPE_KEYS != 0 && (keys > 1 || (keys == 1 && trim_key(head)));
    // SAFETY: as above.
    let (path, asked) = unsafe { ((*head).marks[MARK_PATH], (*head).counts[MARK_UPGRADE]) };
    // Others than `GET` cannot ask for that (RFC 6455, 4.1): their bodies are looked at.
    let upgrades = asked != 0 && byte(head, 0) == b'G';
    // A target with a host of its own overrules the field (RFC 9112, 3.2.2).
    let is_absolute = byte(head, path + 1) == b'h';
    // A head that is longer than what is read, or says a thing twice, could mean anything.
    if ended == 0 || hosts != 1 || is_key_hidden || is_absolute {
        // SAFETY: as above.
        unsafe { (*object).unjudged = REASON_HEAD_UNREADABLE };
    }
    // SAFETY: as above.
    unsafe {
        if upgrades {
            (*object).http = HTTP_UPGRADE;
        } else if (*head).marks[MARK_HEAD_END] + 1 < (*head).length {
            (*object).http = HTTP_BODY_BEGUN;
        }
    }
    if scope & (SCOPE_PATHS | SCOPE_PATH_TAILS) != 0 {
        return Some(TAIL_PATH);
    }
    (scope & (SCOPE_KEYS | SCOPE_MODELS) != 0 && leads != DESTINATION_NONE)
        .then_some(TAIL_CREDENTIAL)
}

/// Takes blanks off the end of the key; says whether there were more than that.
#[inline(always)]
fn trim_key(head: *mut Head) -> bool {
    // SAFETY: a live element that only this thread changes; the indices are constants below the length.
    let end = unsafe { &raw mut (*head).marks[MARK_KEY_END] };
    let mut step = 0;
    while step < BLANKS_MAX {
        // SAFETY: as above; read anew, so that the verifier need not carry along what it has learnt.
        let at = unsafe { core::ptr::read_volatile(end) };
        let last = byte(head, at.wrapping_sub(1));
        if last != b' ' && last != b'\t' {
            return false;
        }
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(end, at.wrapping_sub(1)) };
        step += 1;
    }
    true
}

#[inline(always)]
pub const fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(NAME_HASH_PRIME)
}

/// Leaves the verdict where the record will be looked at: at the object, and at its socket once that is known.
#[inline(always)]
pub fn leave(object: *mut Object, verdict: &Verdict, leads: u32) {
    // SAFETY: a live element of the LRU map; only this thread is inside the object.
    let cookie = unsafe {
        // A refused request ends its connection: a later one on it is refused as well.
        if !refuses(&(*object).verdict) {
            (*object).verdict = *verdict;
        }
        (*object).destination = leads;
        (*object).unjudged = 0;
        (*object).http = HTTP_BODY;
        (*object).cookie
    };
    if cookie != 0 && refuses(verdict) {
        let _ = MARKS.insert(&cookie, &Verdict { layer: LAYER_CONTENT, ..*verdict }, 0);
    }
}
