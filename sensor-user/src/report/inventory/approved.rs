//! A row of the inventory and the policies in force come in; whether these approve of that use goes out.

use jiff::Timestamp;

use crate::policy::Attribute;
use crate::policy::Decision;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Given;
use crate::policy::Outlook;
use crate::policy::Transport;
use crate::store::Approved;
use crate::store::Entry;
use crate::store::Figures;
use crate::store::OTHERS;
use crate::store::Use;
use crate::workload::is_unit;

/// Hex digits of a container's id.
const CONTAINER_ID_LEN: usize = 64;
/// What no row tells of its process.
const NEVER_TOLD: [&str; 4] = ["executable", "parent", "loginUser", "cgroup"];
/// What policies ask of a container; a row tells one or two of these, and of the others nothing.
const OF_CONTAINER: [&str; 8] =
    ["unit", "containerId", "image", "runtime", "namespace", "pod", "container", "labels"];
/// Runtimes that name containers in no pod (`docker:web`).
const RUNTIMES: [&str; 4] = ["containerd", "cri-o", "docker", "podman"];
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
    facts.put_place(used);
    let is_read = entry.figures.calls > 0;
    facts.put_transport(&entry.figures);
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

/// What the place of a row in a container tells of it, by the ways in which the inventory names one.
fn of_container(place: &str) -> Vec<(&'static str, &str)> {
    if place.len() == CONTAINER_ID_LEN && place.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return vec![("containerId", place)];
    }
    if let Some((namespace, container)) = place.split_once('/') {
        return vec![("namespace", namespace), ("container", container)];
    }
    match place.split_once(':') {
        Some((runtime, container)) if RUNTIMES.contains(&runtime) => {
            vec![("runtime", runtime), ("container", container)]
        }
        _ => Vec::new(),
    }
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

    /// In a unit there is no container; of a container, what the place does not tell is unknown, never absent.
    fn put_place(&mut self, used: &Use) {
        let place = used.place.as_str();
        // Nothing is known of a process that was not looked up.
        if place.is_empty() && !used.program.is_empty() {
            return;
        }
        // A unit of a user's manager stands behind that; no namespace has such a sign in its name.
        let has_pod = place.contains('/') && !place.starts_with("user@");
        if is_unit(place) && !place.contains(':') && !has_pod {
            return self.put("unit", place);
        }
        let told = of_container(place);
        for name in OF_CONTAINER {
            match told.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => self.put(name, value),
                None => self.unknown(name),
            }
        }
    }

    /// A row without calls is opaque where nobody could read a connection of it; what was missed of others may have been a
    /// request, and what was seen whole was plaintext.
    fn put_transport(&mut self, figures: &Figures) {
        let is_whole = figures.whole > 0 && figures.partial == 0;
        if figures.calls > 0 || (figures.opaque == 0 && is_whole) {
            self.put("transport", "plaintext");
        } else if figures.opaque > 0 {
            self.put("transport", "opaque");
        } else {
            self.0.put_unsure(Transport::Opaque);
        }
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

    #[test]
    fn place_tells_of_a_container_what_it_names_and_nothing_is_absent() {
        let at = |place: &str| Entry {
            used: Use { place: place.to_owned(), ..entry(1, "deny").used },
            ..entry(1, "deny")
        };
        let id = "3f2a91bc".repeat(8);
        let denied = |asked: &str, place: &str| {
            let rules = format!("  rules: [{{name: r, action: deny, match: {{{asked}}}}}]\n");
            let entry = at(place);
            let outlook = engine(&rules).outlook(&given(&entry).facts(), Timestamp::UNIX_EPOCH);
            match outlook {
                Outlook::Settled(decision) => Some(decision.ruling.effect == Effect::Deny),
                Outlook::Open { .. } => None,
            }
        };
        let cases = [
            ("namespace: shop", "shop/nginx", Some(true)),
            ("namespace: other", "shop/nginx", Some(false)),
            ("container: nginx", "shop/nginx", Some(true)),
            ("pod: 'nginx-*'", "shop/nginx", None),
            ("image: '*nginx*'", "shop/nginx", None),
            ("labels: {app: web}", "shop/nginx", None),
            ("unit: nginx.service", "shop/nginx.service", None),
            ("container: web", "docker:web", Some(true)),
            ("runtime: podman", "docker:web", Some(false)),
            ("containerId: '3f*'", "docker:web", None),
            ("containerId: '3f*'", id.as_str(), Some(true)),
            ("container: web", id.as_str(), None),
            ("unit: web.service", "web.service", Some(true)),
            ("namespace: shop", "web.service", Some(false)),
            ("unit: web.service", "dbus-:1.2-web@0.service", None),
            ("namespace: shop", "", Some(false)),
            ("namespace: shop", OTHERS, None),
        ];
        for (asked, place, expected) in cases {
            assert_eq!(denied(asked, place), expected, "{asked} at {place}");
        }
        let rules = "  rules: [{name: r, action: deny, match: {pod: 'nginx-*'}}]\n";
        let found = approved(&engine(rules), &at("shop/nginx"), Timestamp::UNIX_EPOCH);
        assert_eq!(found, Approved::No, "as its last call was judged");
    }

    #[test]
    fn connection_is_opaque_only_where_nobody_could_read_it() {
        let rules = "  rules: [{name: r, action: deny, match: {transport: opaque}}]\n";
        let cases = [
            ((1, 0, 0), Approved::Yes),
            ((0, 0, 1), Approved::No),
            ((1, 0, 1), Approved::No),
            ((0, 1, 0), Approved::Unknown),
            ((1, 1, 0), Approved::Unknown),
            ((0, 0, 0), Approved::Unknown),
        ];
        for ((whole, partial, opaque), expected) in cases {
            let figures = Figures { opaque, whole, partial, ..Figures::default() };
            let entry = Entry { figures, ..entry(0, "") };
            let found = approved(&engine(rules), &entry, Timestamp::UNIX_EPOCH);
            assert_eq!(found, expected, "{whole} {partial} {opaque}");
        }
    }
}
