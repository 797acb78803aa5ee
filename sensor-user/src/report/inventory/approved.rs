//! A row of the inventory and the policies in force come in; whether these approve of that use goes out.

use jiff::Timestamp;

use crate::policy::Attribute;
use crate::policy::Decision;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Given;
use crate::policy::Outlook;
use crate::store::Approved;
use crate::store::Entry;
use crate::store::OTHERS;

/// Hex digits of a container's id.
const CONTAINER_ID_LEN: usize = 64;
/// What no row tells of its process.
const NEVER_TOLD: [&str; 4] = ["executable", "parent", "loginUser", "cgroup"];
/// What a row of a container does not tell of it.
const OF_CONTAINER: [&str; 7] =
    ["unit", "image", "runtime", "namespace", "pod", "container", "labels"];
/// What is not known of a use that nobody could read.
const OF_CONTENT: [&str; 4] = ["operation", "model", "credential", "credentialKind"];

/// Whether the policies in force approve of a use. Where a row does not tell all that they ask about, what they said of
/// its last call counts; `unknown` where no policy is about it.
pub fn approved(engine: &Engine, entry: &Entry, now: Timestamp) -> Approved {
    if engine.set().is_empty() {
        return Approved::Unknown;
    }
    match engine.outlook(&given(entry).facts(), now) {
        Outlook::Settled(decision) => of(&decision),
        Outlook::Open { .. } => match entry.figures.decision.as_str() {
            "" => Approved::Unknown,
            "allow" => Approved::Yes,
            _ => Approved::No,
        },
    }
}

fn of(decision: &Decision) -> Approved {
    match (&decision.ruling.policy, decision.ruling.effect) {
        (None, _) => Approved::Unknown,
        (Some(_), Effect::Allow) => Approved::Yes,
        // An alert lets a call pass, but nobody has approved of it.
        (Some(_), Effect::Alert | Effect::Deny | Effect::Kill) => Approved::No,
    }
}

/// What a row tells of its calls, as policies ask for it; what it cannot tell is unknown.
pub fn given(entry: &Entry) -> Given {
    let used = &entry.used;
    let mut facts = Facts::default();
    facts.put("provider", &used.provider);
    facts.put("category", &used.category);
    facts.put("host", &used.host);
    facts.put("user", &used.user);
    facts.all_unknown(&NEVER_TOLD);
    let is_container = used.place.len() == CONTAINER_ID_LEN
        && used.place.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_container {
        facts.put("containerId", &used.place);
        facts.all_unknown(&OF_CONTAINER);
    } else if !used.place.is_empty() {
        facts.put("unit", &used.place);
    }
    let is_read = entry.figures.calls > 0;
    facts.put("transport", if is_read { "plaintext" } else { "opaque" });
    if used.provider == "unlisted" {
        facts.put("transport", "unlisted");
    }
    if is_read {
        facts.put("model", &used.model);
        if !used.credential.is_empty() {
            facts.put("credential", &used.credential);
            facts.unknown("credentialKind");
        }
        facts.unknown("operation");
    } else {
        facts.all_unknown(&OF_CONTENT);
    }
    facts.0
}

#[derive(Default)]
struct Facts(Given);

impl Facts {
    /// What a row does not know, or holds as a sum, is unknown.
    fn put(&mut self, name: &str, value: &str) {
        if value.is_empty() || value == OTHERS {
            return self.unknown(name);
        }
        // A value of a closed set that this version does not know stays absent.
        let _known = self.0.put(name, value);
    }

    fn all_unknown(&mut self, names: &[&str]) {
        for name in names {
            self.unknown(name);
        }
    }

    fn unknown(&mut self, name: &str) {
        debug_assert!(Attribute::from_name(name).is_some(), "{name}");
        // The names are those of attributes.
        let _known = self.0.put_unknown(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Set;
    use crate::policy::Source;
    use crate::store::Figures;
    use crate::store::Use;

    fn engine(rules: &str) -> Engine {
        let text = format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: observe\n  default: allow\n{rules}"
        );
        let source = Source { file: "p.yaml".to_owned(), text };
        Engine::new(Set::read(&[source]).unwrap().0)
    }

    fn entry(calls: u64, decision: &str) -> Entry {
        let used = Use {
            provider: "groq".to_owned(),
            host: "api.groq.com".to_owned(),
            model: "big".to_owned(),
            program: "python3".to_owned(),
            user: "ana".to_owned(),
            ..Use::default()
        };
        let figures = Figures { calls, decision: decision.to_owned(), ..Figures::default() };
        Entry { used, figures, ..Entry::default() }
    }

    #[test]
    fn use_is_approved_as_the_policies_in_force_decide() {
        const OTHERS_ONLY: &str = "  subjects: [{user: bob}]\n";
        let rule = |asked: &str, action: &str| {
            format!("  rules: [{{name: r, action: {action}, match: {{{asked}}}}}]\n")
        };
        let cases = [
            (rule("provider: groq", "deny"), entry(1, "allow"), Approved::No),
            (rule("provider: groq", "alert"), entry(1, ""), Approved::No),
            (rule("provider: openai", "deny"), entry(1, "deny"), Approved::Yes),
            (rule("model: big", "deny"), entry(1, ""), Approved::No),
            // What cannot be known of a connection that nobody could read.
            (rule("model: big", "deny"), entry(0, ""), Approved::Unknown),
            // A row does not tell the path of the program: what was said of its last call counts.
            (rule("executable: '**/python3'", "deny"), entry(1, "deny"), Approved::No),
            (rule("executable: '**/python3'", "deny"), entry(1, "allow"), Approved::Yes),
            (rule("executable: '**/python3'", "deny"), entry(1, ""), Approved::Unknown),
            (OTHERS_ONLY.to_owned(), entry(1, ""), Approved::Unknown),
        ];
        for (rules, entry, expected) in cases {
            let found = approved(&engine(&rules), &entry, Timestamp::UNIX_EPOCH);
            assert_eq!(found, expected, "{rules} {:?}", entry.figures.decision);
        }
        let none = Engine::default();
        assert_eq!(approved(&none, &entry(1, "allow"), Timestamp::UNIX_EPOCH), Approved::Unknown);
    }
}
