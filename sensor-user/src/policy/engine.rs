//! Facts and a time come in; one decision of all policies, or what it still depends on, goes out.

use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::Attribute;
use crate::policy::Attributes;
use crate::policy::Decision;
use crate::policy::Effect;
use crate::policy::Existing;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Outlook;
use crate::policy::Ruling;
use crate::policy::Set;
use crate::policy::Transport;
use crate::policy::condition::Answer;
use crate::policy::document::Mode;
use crate::policy::document::Presume;
use crate::policy::rollout;
use crate::policy::set::Policy;

/// Decides by the policies of one set: the one path for all modes.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    set: Arc<Set>,
    /// Policies that suspend others.
    suspenders: Vec<usize>,
}

/// What one policy says about one call.
#[derive(Clone, Copy, Debug)]
struct Judged<'a> {
    policy: &'a Policy,
    /// The mildest it can come to; `None` where it may not apply at all.
    mildest: Option<Taken>,
    /// The strictest it can come to.
    high: Effect,
    /// What it comes to with everything unknown read as the policy says; `None` where it then does not apply.
    taken: Option<Taken>,
    /// Mode for this subject; an error names what it depends on.
    mode: Result<Mode, Attributes>,
    /// What `mildest` and `high` depend on.
    on: Attributes,
}

/// The effect of a rule, or of the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    effect: Effect,
    rule: Option<u32>,
}

impl Engine {
    /// Makes an engine of a set.
    pub fn new(set: Set) -> Self {
        let suspends = |(_, policy): &(usize, &Policy)| !policy.suspends.is_empty();
        let suspenders =
            set.policies.iter().enumerate().filter(suspends).map(|(at, _)| at).collect();
        Self { set: Arc::new(set), suspenders }
    }

    /// The set it decides by.
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// Decides with what is known. What is unknown is read as each policy's `unknown:` and `opaque:` say.
    pub fn decide(&self, facts: &Facts<'_>, now: Timestamp) -> Decision {
        Self::combine(&self.judge(facts, now, false), facts)
    }

    /// Says whether what is unknown can still change the effects of the decision. Of a subject that was looked up, what is
    /// still unknown is read as each policy's `unknown:` says: nobody will know more before the call is made.
    pub fn outlook(&self, facts: &Facts<'_>, now: Timestamp) -> Outlook {
        let judged = self.judge(facts, now, facts.is_looked_up());
        let low = judged.iter().filter_map(Judged::low).max().unwrap_or_default();
        let high = judged.iter().map(|one| one.high).max().unwrap_or_default();
        let (bound, binding) = bounds(&judged);
        if low == high && bound == binding {
            return Outlook::Settled(Self::combine(&judged, facts));
        }
        let mut on = Attributes::default();
        for one in &judged {
            let open = one.low() != Some(one.high) && one.high > low;
            let open_bound = one.high > bound && one.may_enforce() && one.low() != Some(one.high);
            if open || open_bound {
                on = on.union(one.on);
            }
            if let Err(unknown) = one.mode
                && one.high > bound
            {
                on = on.union(unknown);
            }
        }
        Outlook::Open { on }
    }

    /// What enforcing policies say, where nothing that is still unknown can make them refuse less, or refuse at all;
    /// `None` where it depends.
    pub fn bound(&self, facts: &Facts<'_>, now: Timestamp) -> Option<Decision> {
        let judged = self.judge(facts, now, facts.is_looked_up());
        let (low, high) = bounds(&judged);
        (low == high || low.refuses()).then(|| Self::combine(&judged, facts))
    }

    /// Decides by what holds whatever is still unknown: of each policy, the mildest that it can come to. Of a subject that
    /// was looked up, the rest is read as the policy's `unknown:` says.
    pub fn certain(&self, facts: &Facts<'_>, now: Timestamp) -> Decision {
        let mut judged = self.judge(facts, now, facts.is_looked_up());
        judged.iter_mut().for_each(Judged::lower);
        Self::combine(&judged, facts)
    }

    /// The first time after `now` at which a decision may change by itself.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let policies = self.set.policies.iter().filter(|policy| policy.holds_at(now));
        policies
            .flat_map(|policy| {
                let windows =
                    policy.rules.iter().filter_map(|rule| rule.conditions.window.as_ref());
                windows.filter_map(|window| window.next_change(now)).chain(policy.expires)
            })
            .min()
    }

    fn judge(&self, facts: &Facts<'_>, now: Timestamp, is_final: bool) -> Vec<Judged<'_>> {
        let candidates = self.set.index.candidates(facts);
        let policies = candidates.iter().filter_map(|at| self.set.policies.get(*at as usize));
        let mut judged: Vec<_> = policies
            .filter(|policy| policy.holds_at(now))
            .filter_map(|policy| policy.judge(facts, &self.set, (now, is_final)))
            .collect();
        for suspender in self.suspenders.iter().filter_map(|at| self.set.policies.get(*at)) {
            if suspender.holds_at(now) {
                suspend(suspender, facts, &self.set, (now, is_final), &mut judged);
            }
        }
        judged
    }

    fn combine(judged: &[Judged<'_>], facts: &Facts<'_>) -> Decision {
        let ruling = strongest(judged.iter());
        let binding = strongest(judged.iter().filter(|one| one.holding_mode() == Mode::Enforce));
        let told = |one: Option<(&Judged<'_>, Taken)>| {
            one.map(|(judged, taken)| judged.tell(taken, facts))
        };
        let mut binding = told(binding);
        if let Some(binding) = binding.as_mut().filter(|binding| binding.effect.refuses())
            && judged.iter().any(Judged::closes)
        {
            binding.existing = Existing::Close;
        }
        Decision { binding, ruling: told(ruling).unwrap_or_else(Ruling::none) }
    }
}

/// The mildest and the strictest that the enforcing policies can come to.
fn bounds(judged: &[Judged<'_>]) -> (Effect, Effect) {
    let enforces = |one: &&Judged<'_>| one.mode == Ok(Mode::Enforce);
    let low = judged.iter().filter(enforces).filter_map(Judged::low).max();
    let high = judged.iter().filter(|one| one.may_enforce()).map(|one| one.high).max();
    (low.unwrap_or_default(), high.unwrap_or_default())
}

/// The strongest of several; of equally strong ones a rule before a default, then the first by name.
fn strongest<'a>(judged: impl Iterator<Item = &'a Judged<'a>>) -> Option<(&'a Judged<'a>, Taken)> {
    let mut best: Option<(&Judged<'_>, Taken)> = None;
    for one in judged {
        let Some(taken) = one.taken else { continue };
        let rank = |taken: Taken| (taken.effect, taken.rule.is_some());
        if best.is_none_or(|(_, so_far)| rank(taken) > rank(so_far)) {
            best = Some((one, taken));
        }
    }
    best
}

/// Takes the policies away that another one suspends for this subject.
fn suspend(
    by: &Policy,
    facts: &Facts<'_>,
    set: &Set,
    (now, is_final): (Timestamp, bool),
    judged: &mut Vec<Judged<'_>>,
) {
    let named = |one: &Judged<'_>| {
        one.policy.name != by.name && by.suspends.iter().any(|name| name.matches(&one.policy.name))
    };
    // Outside of its share a policy only observes, and lifts nothing.
    let holds = match rollout::holds(&by.name, by.rollout, facts) {
        Ok(true) => Answer::Yes,
        Ok(false) => Answer::No,
        Err(unknown) => Answer::Depends(unknown),
    };
    match by.applies(facts, set, now).and(holds) {
        Answer::No => {}
        Answer::Yes => judged.retain(|one| !named(one)),
        answer @ Answer::Depends(_) if is_final && is_about_subject(answer) => {}
        // An exception that is not certain is none; but the outlook stays open.
        Answer::Depends(on) => {
            for one in judged.iter_mut().filter(|one| named(one)) {
                one.mildest = None;
                one.on = one.on.union(on);
            }
        }
    }
}

impl Policy {
    fn holds_at(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn applies(&self, facts: &Facts<'_>, set: &Set, now: Timestamp) -> Answer {
        if self.subjects.is_empty() {
            return Answer::Yes;
        }
        self.subjects.iter().fold(Answer::No, |so_far, subject| {
            so_far.or(subject.answer(facts, &set.approved, now))
        })
    }

    /// What it says; where the subject is `is_final`, nothing of it stays open.
    fn judge<'a>(
        &'a self,
        facts: &Facts<'_>,
        set: &Set,
        (now, is_final): (Timestamp, bool),
    ) -> Option<Judged<'a>> {
        let mut applies = self.applies(facts, set, now);
        if is_final && is_about_subject(applies) {
            applies = if self.unknown == Presume::Deny { Answer::Yes } else { Answer::No };
        }
        if applies == Answer::No {
            return None;
        }
        let mut on = Attributes::default();
        let mut certain: Option<Taken> = None;
        let mut possible: Vec<(Taken, Presume)> = Vec::new();
        let mut presumed = Vec::new();
        for at in self.index.candidates(facts) {
            let Some(rule) = self.rules.get(at as usize) else { continue };
            let taken = Taken { effect: rule.effect, rule: Some(at) };
            match rule.conditions.answer(facts, &set.approved, now) {
                Answer::No => {}
                answer @ Answer::Depends(_) if is_final && is_about_subject(answer) => {
                    presumed.push((taken, self.unknown));
                }
                Answer::Yes if certain.is_some_and(|known| known.effect >= taken.effect) => {}
                Answer::Yes => certain = Some(taken),
                Answer::Depends(unknown) => {
                    on = on.union(unknown);
                    possible.push((taken, self.presume(unknown, facts)));
                }
            }
        }
        let base = certain.unwrap_or(Taken { effect: self.default, rule: None });
        let base = read(base, certain.is_some(), &presumed);
        let high = possible.iter().map(|(taken, _)| taken.effect).fold(base.effect, Effect::max);
        let milder = possible.iter().filter(|_| certain.is_none()).map(|(taken, _)| *taken);
        let mildest = milder
            .fold(base, |so_far, next| if next.effect < so_far.effect { next } else { so_far });
        let mut taken = Some(read(base, certain.is_some(), &possible));
        let mut mildest = Some(mildest);
        if let Answer::Depends(unknown) = applies {
            (mildest, on) = (None, on.union(unknown));
            let milder = self.unknown == Presume::Allow;
            taken = taken.filter(|taken| !milder && taken.effect > Effect::Allow);
        }
        let mode = match rollout::holds(&self.name, self.rollout, facts) {
            Ok(true) => Ok(self.mode),
            Ok(false) => Ok(Mode::Observe),
            Err(_) if is_final && self.unknown == Presume::Deny => Ok(self.mode),
            Err(_) if is_final => Ok(Mode::Observe),
            Err(unknown) => Err(unknown),
        };
        Some(Judged { policy: self, mildest, high, taken, mode, on })
    }

    /// How a rule that depends on these attributes is read.
    fn presume(&self, on: Attributes, facts: &Facts<'_>) -> Presume {
        let opaque = facts.transport(Transport::Opaque) == Fact::Known(true);
        if opaque && on.iter().all(Attribute::is_content) { self.opaque } else { self.unknown }
    }
}

/// Whether an answer depends on who it is, and on nothing else.
fn is_about_subject(answer: Answer) -> bool {
    matches!(answer, Answer::Depends(on) if on.iter().all(Attribute::is_subject))
}

/// What a policy comes to where some rules may match: the strictest of those that are to be read strictly, else the
/// mildest of the others.
fn read(base: Taken, is_certain: bool, possible: &[(Taken, Presume)]) -> Taken {
    let of = |wanted: Presume| {
        possible.iter().filter(move |(_, presume)| *presume == wanted).map(|(taken, _)| *taken)
    };
    let stricter = of(Presume::Deny).filter(|taken| taken.effect > base.effect);
    // `max_by_key` takes the last of several; the first by name is wanted.
    if let Some(taken) =
        stricter.reduce(|first, next| if next.effect > first.effect { next } else { first })
    {
        return taken;
    }
    let milder = of(Presume::Allow).filter(|taken| !is_certain && taken.effect < base.effect);
    milder
        .reduce(|first, next| if next.effect < first.effect { next } else { first })
        .unwrap_or(base)
}

impl Judged<'_> {
    /// The mildest effect it can come to; `None` where it may not apply at all.
    fn low(&self) -> Option<Effect> {
        self.mildest.map(|taken| taken.effect)
    }

    /// Takes it to come to no more than what is certain.
    fn lower(&mut self) {
        self.taken = self.mildest;
        self.high = self.low().unwrap_or_default();
        self.mode = Ok(self.mode.unwrap_or(Mode::Observe));
    }

    fn may_enforce(&self) -> bool {
        self.mode == Ok(Mode::Enforce) || (self.mode.is_err() && self.policy.mode == Mode::Enforce)
    }

    /// The mode, read as the policy says where the subject is not known.
    fn holding_mode(&self) -> Mode {
        match (self.mode, self.policy.unknown) {
            (Ok(mode), _) => mode,
            (Err(_), Presume::Deny) => self.policy.mode,
            (Err(_), Presume::Allow) => Mode::Observe,
        }
    }

    /// Whether it certainly refuses, and wants open connections cut, whichever policy the refusal names.
    fn closes(&self) -> bool {
        self.policy.existing == Existing::Close
            && self.mode == Ok(Mode::Enforce)
            && self.low().is_some_and(Effect::refuses)
    }

    fn tell(&self, taken: Taken, facts: &Facts<'_>) -> Ruling {
        let policy = self.policy;
        let rule = taken.rule.and_then(|at| policy.rules.get(at as usize));
        let mut grounds = Vec::new();
        for conditions in policy.subjects.iter().chain(rule.map(|rule| &rule.conditions)) {
            conditions.grounds(facts, &mut grounds);
        }
        grounds.sort_unstable();
        grounds.dedup();
        Ruling {
            effect: taken.effect,
            mode: self.holding_mode(),
            policy: Some(Arc::clone(&policy.name)),
            rule: rule.map(|rule| Arc::clone(&rule.name)),
            reason: rule.and_then(|rule| rule.reason.clone()).or_else(|| policy.reason.clone()),
            existing: policy.existing,
            presumed: self.low() != Some(self.high) || self.mode.is_err(),
            facts: grounds,
        }
    }
}
