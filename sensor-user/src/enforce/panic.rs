//! A scope, an end and a reason come in; the pinned maps stop that scope from this moment on, with or without an agent.

use std::fmt;

use sensor_common::gate::{
    ACTION_DENY, CLASS_EVERY, DESTINATION_ANY, RULE_CLASS, RULE_CREDENTIAL, RULE_DESTINATION,
    RULE_MODEL, RuleKey, SCOPE_CONTENT, Switches, Verdict,
};

use crate::bpf::GateMaps;
use crate::bpf::Owner;
use crate::enforce::Error;
use crate::policy::advice;
use crate::provider::Catalogue;

use super::{orders, words};

/// What a panic stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every call to an AI provider.
    Everything,
    /// Calls to the provider of one row of the catalogue, by the id of that row.
    Provider(String),
    /// Calls with one key, by its fingerprint.
    Key(String),
    /// Calls for one model.
    Model(String),
    /// Calls of one class of subjects.
    Workload(String),
}

/// A panic that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What it is found under.
    pub key: RuleKey,
    /// Monotonic nanoseconds at which it ends by itself.
    pub until_ns: u64,
    /// Why it was put on.
    pub reason: String,
    /// What it stops; `None` where the name of that was not kept.
    pub scope: Option<Scope>,
}

/// Whether a rule is a panic's.
pub(super) fn is_panic(key: &RuleKey) -> bool {
    key.class == CLASS_EVERY || key.kind == RULE_CLASS
}

/// Whether a panic is about what only a request tells.
fn is_about_content(key: &RuleKey) -> bool {
    matches!(key.kind, RULE_CREDENTIAL | RULE_MODEL)
}

/// Keeps the switches on as long as a panic lasts.
fn extend(switches: &mut Switches, key: &RuleKey, until_ns: u64) {
    switches.panic_until_ns = switches.panic_until_ns.max(until_ns);
    if is_about_content(key) {
        switches.content_until_ns = switches.content_until_ns.max(until_ns);
    }
}

impl Scope {
    /// Whether requests have to be judged for it.
    pub fn is_about_content(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Model(_))
    }

    /// The scope as it was typed, with a provider as the gate knows it: the name that events and policies carry may be that
    /// of several rows. An error says which name was probably meant.
    pub fn resolve(self, catalogue: &Catalogue) -> Result<Vec<Self>, String> {
        let Self::Provider(name) = self else { return Ok(vec![self]) };
        let rows = catalogue.providers().iter();
        let meant = rows.filter(|row| row.id == name || row.name == name);
        let found: Vec<_> = meant.map(|row| Self::Provider(row.id.clone())).collect();
        if found.is_empty() {
            let names = catalogue.providers().iter().flat_map(|row| [&*row.id, &*row.name]);
            return Err(format!("unknown provider `{name}`; {}", advice(&name, names)));
        }
        Ok(found)
    }

    /// Where the gate looks for it.
    pub fn key(&self) -> Result<RuleKey, String> {
        let key = |class, kind, value| Ok(RuleKey { class, kind, value });
        let about = |destination: u32| [u64::from(destination), 0];
        match self {
            Self::Everything => key(CLASS_EVERY, RULE_DESTINATION, about(DESTINATION_ANY)),
            Self::Provider(name) => {
                key(CLASS_EVERY, RULE_DESTINATION, about(words::destination(name)))
            }
            Self::Key(text) => key(CLASS_EVERY, RULE_CREDENTIAL, orders::fingerprint(text)?),
            Self::Model(name) => key(CLASS_EVERY, RULE_MODEL, [words::model(name), 0]),
            Self::Workload(name) => key(words::class(name), RULE_CLASS, [0, 0]),
        }
    }

    /// The name of which its key has a number only.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Provider(name) | Self::Model(name) | Self::Workload(name) => Some(name),
            Self::Everything | Self::Key(_) => None,
        }
    }

    /// The scope of a key, by the name that was kept for it.
    fn of(key: &RuleKey, name: Option<String>) -> Option<Self> {
        let [first, second] = key.value;
        let scope = match (key.kind, name) {
            (RULE_CREDENTIAL, _) => Self::Key(format!("{first:016x}{second:016x}")),
            (RULE_DESTINATION, _) if first == u64::from(DESTINATION_ANY) => Self::Everything,
            (RULE_DESTINATION, Some(name)) => Self::Provider(name),
            (RULE_MODEL, Some(name)) => Self::Model(name),
            (RULE_CLASS, Some(name)) => Self::Workload(name),
            _ => return None,
        };
        // Two numbers of words may meet, and a long name is cut: a name that leads elsewhere is another's.
        scope.key().is_ok_and(|own| own == *key).then_some(scope)
    }
}

impl fmt::Display for Scope {
    /// In the words of the option that puts it on and lifts it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Provider(name) => write!(f, "provider {name}"),
            Self::Key(fingerprint) => write!(f, "key {fingerprint}"),
            Self::Model(name) => write!(f, "model {name}"),
            Self::Workload(name) => write!(f, "workload {name}"),
        }
    }
}

impl Panic {
    /// Puts a panic on: the verdict first, then the switch.
    pub fn on(
        maps: &mut GateMaps,
        (scope, key): (&Scope, RuleKey),
        until_ns: u64,
        reason: &str,
    ) -> Result<(), Error> {
        let number = words::reason(reason);
        maps.set_words(number, reason)?;
        if let Some(name) = scope.name() {
            // It stops the same without: where there is no room for its name, the status does not tell it.
            let _kept = maps.set_words(words::name_of(&key), name);
        }
        let verdict = Verdict {
            action: ACTION_DENY,
            reason: number,
            expires_ns: until_ns,
            ..Verdict::default()
        };
        maps.set_rule(key, Some(verdict))?;
        let mut switches = maps.switches(Owner::Panic)?;
        extend(&mut switches, &key, until_ns);
        Ok(maps.set_switches(Owner::Panic, switches)?)
    }

    /// Lifts the panics of some keys, or all; says how many.
    pub fn off(
        maps: &mut GateMaps,
        which: Option<&[RuleKey]>,
        now_ns: u64,
    ) -> Result<usize, Error> {
        let mut lifted = 0_usize;
        let mut switches = Switches::default();
        for panic in Self::all(maps) {
            if which.is_none_or(|keys| keys.contains(&panic.key)) {
                maps.set_rule(panic.key, None)?;
                lifted = lifted.saturating_add(usize::from(panic.until_ns > now_ns));
            } else {
                extend(&mut switches, &panic.key, panic.until_ns);
            }
        }
        maps.set_switches(Owner::Panic, switches)?;
        Ok(lifted)
    }

    /// Every panic that was put on and not lifted, ended ones included.
    pub fn all(maps: &GateMaps) -> Vec<Self> {
        maps.rules()
            .into_iter()
            .filter(|(key, _)| is_panic(key))
            .map(|(key, verdict)| Self {
                key,
                until_ns: verdict.expires_ns,
                reason: maps.words(verdict.reason).unwrap_or_default(),
                scope: Scope::of(&key, maps.words(words::name_of(&key))),
            })
            .collect()
    }

    /// The panic that is on about the key, by its fingerprint, or the model of a call.
    pub fn about(
        maps: &GateMaps,
        (key, model): (Option<&str>, Option<&str>),
        now_ns: u64,
    ) -> Option<Self> {
        // Nearly always there is none, and nothing more is asked.
        if maps.switches(Owner::Panic).ok()?.content_until_ns <= now_ns {
            return None;
        }
        let key = key.map(|key| Scope::Key(key.to_owned()));
        let model = model.map(|model| Scope::Model(model.to_owned()));
        let keys: Vec<_> =
            [key, model].into_iter().flatten().filter_map(|scope| scope.key().ok()).collect();
        let is_on = |panic: &Self| panic.until_ns > now_ns && keys.contains(&panic.key);
        Self::all(maps).into_iter().find(is_on)
    }

    /// The provider that it is about, where it is about one that the catalogue has.
    pub fn provider<'a>(&self, catalogue: &'a Catalogue) -> Option<&'a str> {
        let wanted = self.key.value.first().filter(|_| self.key.kind == RULE_DESTINATION)?;
        let mut ids = catalogue.providers().iter().map(|row| row.id.as_str());
        ids.find(|id| u64::from(words::destination(id)) == *wanted)
    }

    /// What it stops, for people.
    pub fn what(&self, catalogue: &Catalogue) -> String {
        let row = || self.provider(catalogue).map(|id| Scope::Provider(id.to_owned()));
        let kind = match self.key.kind {
            RULE_MODEL => "model",
            RULE_CLASS => "workload",
            _ => "provider",
        };
        let scope = self.scope.clone().or_else(row);
        scope.map_or_else(|| format!("a {kind} whose name was not kept"), |scope| scope.to_string())
    }

    /// Whether an open connection is to be cut for a panic: its class, the scope of that, and where it leads.
    pub fn stops(key: &RuleKey, (class, scope): (u32, u32), destination: u32) -> bool {
        match key.kind {
            RULE_DESTINATION => {
                let wanted = key.value.first().copied().unwrap_or(0);
                wanted == u64::from(DESTINATION_ANY) || wanted == u64::from(destination)
            }
            RULE_CLASS => key.class == class,
            // Which key or model an open connection uses is not written at its socket. Where requests were judged before the
            // panic, the next one is; another connection is not watched for that, and has to be made anew.
            _ => scope & SCOPE_CONTENT == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str) -> Result<Vec<String>, String> {
        let id = |scope| match scope {
            Scope::Provider(id) => id,
            other => panic!("{other:?}"),
        };
        let scopes = Scope::Provider(name.to_owned()).resolve(&Catalogue::bundled().unwrap())?;
        Ok(scopes.into_iter().map(id).collect())
    }

    #[test]
    fn typed_provider_is_every_row_of_that_id_or_name() {
        for (name, ids) in [
            ("openai", vec!["openai", "chatgpt", "chatgpt_sites"]),
            ("chatgpt", vec!["chatgpt"]),
            ("aws.bedrock", vec!["bedrock", "amazon_q"]),
            ("bedrock", vec!["bedrock"]),
        ] {
            assert_eq!(resolve(name).unwrap(), ids, "{name}");
        }
        let azure = resolve("azure.ai.openai").unwrap();
        assert!(azure.len() > 1 && azure.contains(&"azure_openai".to_owned()), "{azure:?}");
        // Whatever events call it, the gate knows it by the number of its row.
        let catalogue = Catalogue::bundled().unwrap();
        for row in catalogue.providers() {
            let panic = |id: &String| Panic {
                key: Scope::Provider(id.clone()).key().unwrap(),
                until_ns: 1,
                reason: String::new(),
                scope: None,
            };
            let found = resolve(&row.name).unwrap();
            let about: Vec<_> = found.iter().map(panic).collect();
            let destination = words::destination(&row.id);
            let stops = |one: &Panic| Panic::stops(&one.key, (1, 0), destination);
            assert!(about.iter().any(stops), "{}", row.name);
            assert!(
                found
                    .iter()
                    .map(String::as_str)
                    .eq(about.iter().filter_map(|one| one.provider(&catalogue)))
            );
        }
    }

    #[test]
    fn scope_is_known_by_its_key_and_the_name_that_was_kept() {
        let fingerprint = "9f3c2e1a00112233445566778899aabb".to_owned();
        let scopes = [
            Scope::Everything,
            Scope::Provider("gone".to_owned()),
            Scope::Key(fingerprint),
            Scope::Model("m".repeat(200)),
            Scope::Workload("web".to_owned()),
        ];
        let mut numbers = Vec::new();
        for scope in scopes {
            let key = scope.key().unwrap();
            numbers.push(words::name_of(&key));
            let name = scope.name().map(str::to_owned);
            assert_eq!(Scope::of(&key, name.clone()), Some(scope));
            // Without a name, or by that of another, it is not guessed.
            let is_named = name.is_some();
            for other in [None, name.map(|name| format!("x{name}"))] {
                assert_eq!(Scope::of(&key, other).is_none(), is_named, "{key:?}");
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 5);
    }

    #[test]
    fn provider_that_nobody_knows_is_refused_with_the_name_that_is_near_it() {
        let refused = resolve("opnai").unwrap_err();
        assert_eq!(refused, "unknown provider `opnai`; did you mean `openai`?");
        let catalogue = Catalogue::bundled().unwrap();
        let model = Scope::Model("opnai".to_owned());
        assert_eq!(model.clone().resolve(&catalogue), Ok(vec![model]));
    }
}
