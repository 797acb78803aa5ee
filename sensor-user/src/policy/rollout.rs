//! A policy's name and a subject come in; whether the policy's mode holds for that subject goes out, the same everywhere.

use crate::policy::Attribute;
use crate::policy::Attributes;
use crate::policy::Fact;
use crate::policy::Facts;

/// All subjects, in units of 0.01 %.
pub(super) const EVERYBODY: u32 = 10_000;
/// Start and multiplier of the 64-bit FNV-1a hash.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0100_0000_01b3);

/// What a subject is known by, the first that it has.
const WHO: [&[Attribute]; 4] = [
    &[Attribute::Namespace, Attribute::Pod],
    &[Attribute::ContainerId],
    &[Attribute::Unit],
    &[Attribute::User, Attribute::Executable],
];

/// Whether the subject is among the first `share`; what that depends on where the subject is not known.
///
/// A subject is its pod, else its container, else its unit, else its user and executable. A larger share holds every
/// subject of a smaller one.
pub(super) fn holds(policy: &str, share: u32, facts: &Facts<'_>) -> Result<bool, Attributes> {
    if share >= EVERYBODY {
        return Ok(true);
    }
    for attributes in WHO {
        let values: Vec<_> = attributes.iter().map(|attribute| facts.text(*attribute)).collect();
        let unknown = attributes.iter().zip(&values).filter(|(_, value)| value.is_unknown());
        let unknown: Attributes = unknown.map(|(attribute, _)| *attribute).collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let known: Vec<_> = values.into_iter().filter_map(Fact::known).collect();
        if !known.is_empty() {
            return Ok(bucket(policy, &known) < share);
        }
    }
    Ok(bucket(policy, &[]) < share)
}

fn bucket(policy: &str, subject: &[&str]) -> u32 {
    let mut hash = FNV.0;
    for text in std::iter::once(&policy).chain(subject) {
        // 0xff ends a text: it is in no UTF-8.
        for byte in text.bytes().chain(std::iter::once(0xff)) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV.1);
        }
    }
    // FNV leaves the high bits of short texts alike.
    hash = (hash ^ hash.wrapping_shr(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let spread = hash.wrapping_shr(32).checked_rem(u64::from(EVERYBODY)).unwrap_or_default();
    u32::try_from(spread).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Facts<'_> {
        let mut facts = Facts::default();
        facts.set(Attribute::Namespace, Fact::Known("team-a"));
        facts.set(Attribute::Pod, Fact::Known(name));
        facts
    }

    #[test]
    fn share_is_kept_and_grows_without_changing_its_mind() {
        let names: Vec<_> = (0..10_000).map(|number| format!("pod-{number}")).collect();
        let chosen = |share| {
            let chosen = names.iter().filter(|name| holds("p", share, &pod(name)) == Ok(true));
            chosen.cloned().collect::<Vec<_>>()
        };
        let (tenth, half) = (chosen(1_000), chosen(5_000));
        assert!((900..1_100).contains(&tenth.len()), "{}", tenth.len());
        assert!((4_800..5_200).contains(&half.len()), "{}", half.len());
        assert!(tenth.iter().all(|name| half.contains(name)));
        assert_eq!((chosen(0).len(), chosen(EVERYBODY).len()), (0, 10_000));
    }

    #[test]
    fn subject_is_known_or_what_is_missing_is_named() {
        let mut facts = pod("a");
        facts.forget(Attribute::Pod);
        let missing = holds("p", 1, &facts).unwrap_err();
        assert_eq!(missing.iter().collect::<Vec<_>>(), [Attribute::Pod]);
        assert_eq!(bucket("p", &["team-a", "web-1"]), 7_770);
    }
}
