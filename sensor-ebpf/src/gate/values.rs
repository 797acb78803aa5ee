//! The key and the model of a request come in; what is said about them, here or at all, goes out.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::forms::value_in;
use sensor_common::gate::{
    ACTION_GROUP, CLASS_EVERY, CLASS_NONE, HTTP_BODY_NAMED, HTTP_UPGRADE, REASON_HEAD_UNREADABLE,
    RULE_CREDENTIAL, RULE_KEY_PREFIX, RULE_MODEL, RULE_MODEL_FORM, RULE_MODEL_IN_PATH,
    RULE_OTHER_CREDENTIAL, RULE_OTHER_MODEL, RuleKey, SCOPE_KEY_PREFIXES, SCOPE_KEYS, SCOPE_MODELS,
    Verdict, value_at,
};
use sensor_common::limits::KEY_PREFIX_MAX;
use sensor_common::names::TAIL_SCAN;
use sensor_common::scan::{
    Head, MARK_KEY, MARK_KEY_END, MARK_LOOSE, MARK_LOOSE_END, MARK_MODEL, MARK_MODEL_END,
    MARK_NAMED, MARK_NAMED_END, MARK_UNCLEAR,
};
use sensor_common::state::NAME_HASH_START;

use crate::content::{byte, held, judged_by, leave, look_at, step};
use crate::credential::fingerprint;
use crate::form;
use crate::looks;
use crate::maps::{GATE_TAILS, HEADS, OBJECTS, RULES, now};
use crate::name::anew;
use crate::path::ESCAPE;
use crate::rules::{refuses, rule};
use crate::tls::never_tail_call;

/// Judges credential and model.
/// proto: none (only ever tail-called)
#[uprobe]
pub fn gate_credential(ctx: ProbeContext) -> u32 {
    if judge_rest() == Some(true) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { GATE_TAILS.tail_call(&ctx, TAIL_SCAN) };
    }
    never_tail_call(&ctx);
    0
}

/// Says whether more of the write is to be looked at.
#[inline(always)]
fn judge_rest() -> Option<bool> {
    let key = held()?;
    let head = HEADS.get_ptr_mut(&key)?;
    let object = OBJECTS.get_ptr_mut(&key)?;
    // SAFETY: a live element of the LRU map; only this thread is inside the object.
    let known = unsafe { *object };
    let scope = judged_by(known.class);
    let asked = Asked { class: known.class, leads: known.destination, at: now() };
    let mut group = known.group;
    if scope & SCOPE_KEYS != 0
        && look_at(head, MARK_KEY, MARK_KEY_END)
        && let Some(verdict) = asked.key(head, scope & SCOPE_KEY_PREFIXES != 0)
    {
        if refuses(&verdict) {
            leave(object, &verdict, known.destination);
            return None;
        }
        // SAFETY: a live element that only this thread changes; the index is a constant below the length.
        let keys = unsafe { (*head).counts[MARK_KEY_END] };
        if verdict.action == ACTION_GROUP && keys == 1 {
            group = verdict.reason;
            // The model may come in a later look, or in a later write.
            // SAFETY: a live element of the LRU map; only this thread is inside the object.
            unsafe { (*object).group = group };
        }
    }
    if scope & SCOPE_MODELS == 0 {
        return None;
    }
    // SAFETY: live elements; only this thread is inside the object; the index is a constant below the length.
    unsafe {
        if (*head).counts[MARK_UNCLEAR] != 0 {
            (*object).unjudged = REASON_HEAD_UNREADABLE;
        }
    }
    let mut escape = 0;
    if look_at(head, MARK_NAMED, MARK_NAMED_END) && asked.is_named_in_path() {
        escape = ESCAPE;
        // What the body says besides does not count.
        // SAFETY: a live element of the LRU map; only this thread is inside the object.
        unsafe {
            if (*object).http != HTTP_UPGRADE {
                (*object).http = HTTP_BODY_NAMED;
            }
        }
    } else if !look_at(head, MARK_MODEL, MARK_MODEL_END)
        && !look_at(head, MARK_LOOSE, MARK_LOOSE_END)
    {
        return Some(looks::next(head, object));
    }
    let model = form::read(head, escape, (asked.class, asked.at))?;
    let by_panic = || asked.panic(RULE_MODEL, [model.whole, 0]);
    let by_name = || asked.told(RULE_MODEL, value_in(model.whole, group));
    let by_form = || match model.form {
        Some(_) if model.unclear => None,
        Some(form) => asked.told(RULE_MODEL_FORM, value_in(form, group)),
        None => asked.told(RULE_OTHER_MODEL, value_in(0, group)),
    };
    let verdict = by_panic().or_else(by_name).or_else(by_form)?;
    if refuses(&verdict) {
        leave(object, &verdict, known.destination);
    }
    None
}

/// Who asks what of whom, and when.
#[derive(Clone, Copy)]
struct Asked {
    class: u32,
    leads: u32,
    at: u64,
}

impl Asked {
    /// What a panic says about one value, if it refuses.
    #[inline(always)]
    fn panic(&self, kind: u32, value: [u64; 2]) -> Option<Verdict> {
        let verdict = rule(&RuleKey { class: CLASS_EVERY, kind, value }, self.at)?;
        refuses(&verdict).then_some(verdict)
    }

    /// What the class is told about one value: at this destination, else at all.
    #[inline(always)]
    fn told(&self, kind: u32, value: [u64; 2]) -> Option<Verdict> {
        let here = RuleKey { class: self.class, kind, value: value_at(value, self.leads) };
        if let Some(verdict) = rule(&here, self.at) {
            return Some(verdict);
        }
        rule(&RuleKey { value, ..here }, self.at)
    }

    /// What is said about the key at the head's span.
    #[inline(always)]
    fn key(&self, head: *mut Head, begins: bool) -> Option<Verdict> {
        // The fingerprint comes first: the verifier would follow its long way once more for each outcome of what is before it.
        let value = fingerprint(head);
        if let Some(value) = value
            && let Some(verdict) =
                self.panic(RULE_CREDENTIAL, value).or_else(|| self.told(RULE_CREDENTIAL, value))
        {
            return Some(verdict);
        }
        if begins && let Some(verdict) = self.key_begin(head) {
            return Some(verdict);
        }
        value.and_then(|_| self.told(RULE_OTHER_CREDENTIAL, [0, 0]))
    }

    /// What is said about the longest begin of the key that there is a rule about.
    #[inline(always)]
    fn key_begin(&self, head: *const Head) -> Option<Verdict> {
        // SAFETY: a live element that only this thread changes.
        let span = unsafe { &raw const (*head).span };
        let mut key = RuleKey { class: self.class, kind: RULE_KEY_PREFIX, value: [0; 2] };
        let (mut hash, mut longest) = (NAME_HASH_START, 0);
        let mut at = 0;
        while at < KEY_PREFIX_MAX {
            if at >= anew(span, 1) {
                break;
            }
            hash = step(hash, byte(head, anew(span, 0) + at));
            key.value = value_at([hash, 0], self.leads);
            // SAFETY: only whether there is a value is looked at.
            if unsafe { RULES.get(&key) }.is_some() {
                longest = hash;
            }
            at += 1;
        }
        key.value = value_at([longest, 0], self.leads);
        rule(&key, self.at)
    }

    /// Whether models stand in the path where the request leads.
    #[inline(always)]
    fn is_named_in_path(&self) -> bool {
        let (kind, value) = (RULE_MODEL_IN_PATH, value_at([0, 0], self.leads));
        rule(&RuleKey { class: CLASS_NONE, kind, value }, self.at).is_some()
    }
}
