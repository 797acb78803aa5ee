//! A file with orders comes in; classes, scopes and verdicts, in the numbers of the gate, go out.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sensor_common::gate::{
    ACTION_ALLOW, ACTION_DENY, CLASS_NONE, DESTINATION_ANY, RULE_CREDENTIAL, RULE_DESTINATION,
    RULE_MODEL, RULE_MODEL_IN_PATH, RULE_OTHER_CREDENTIAL, RULE_OTHER_MODEL, RULE_PART, RULE_PATH,
    RuleKey, SCOPE_CONTENT, SCOPE_ENFORCED, SCOPE_KEYS, SCOPE_MODELS, SCOPE_NAMES, SCOPE_PATHS,
    SCOPE_REFUSE_OPAQUE, SCOPE_REFUSE_QUIC, Verdict, value_at,
};
use serde::Deserialize;

use crate::bpf::octets;
use crate::policy::Forms;
use crate::provider::names_model_in_path;

use super::{Error, Leads, Told, leads, words};

/// Classes, scopes and verdicts that are to be in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Scope of each class.
    pub scopes: HashMap<u32, u32>,
    /// Class of each cgroup, by its id.
    pub cgroups: HashMap<u64, u32>,
    /// Class of each process, by its id.
    pub processes: HashMap<u32, u32>,
    /// Verdicts.
    pub rules: HashMap<RuleKey, Verdict>,
    /// Destinations by the key of their name.
    pub names: HashMap<u64, u32>,
    /// Destinations by addresses that lead nowhere else.
    pub addresses: HashMap<[u8; 16], u32>,
    /// Words of the reasons.
    pub words: HashMap<u32, String>,
    /// The automaton by which models are told apart.
    pub forms: Option<Arc<Forms>>,
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    subject: Vec<Subjects>,
    dedicated: Vec<Dedicated>,
}

/// Addresses that lead to one provider and nowhere else, so that a connect may be refused by them alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Dedicated {
    /// The provider.
    provider: String,
    /// Its addresses.
    addresses: Vec<IpAddr>,
}

/// Some subjects, and what they are told. What is denied and allowed is named as the catalogue names it; `any` stands for
/// every provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subjects {
    /// Name of the class.
    pub name: String,
    /// Folders of cgroups; what is below them belongs to them.
    pub cgroups: Vec<PathBuf>,
    /// Process ids; their children inherit.
    pub processes: Vec<u32>,
    /// Providers that are denied.
    pub deny: Vec<String>,
    /// Providers that are allowed although `any` is denied.
    pub allow: Vec<String>,
    /// Method and begin of a path, with its provider, as "openai POST /v1/images"; `*` stands for every method.
    pub deny_paths: Vec<String>,
    /// Fingerprints of keys that are denied.
    pub deny_keys: Vec<String>,
    /// Fingerprints of the only keys that are allowed.
    pub allow_keys: Vec<String>,
    /// Models that are denied.
    pub deny_models: Vec<String>,
    /// The only models that are allowed.
    pub allow_models: Vec<String>,
    /// Refuse AI connections that cannot be seen.
    pub refuse_opaque: bool,
    /// Refuse every QUIC datagram.
    pub refuse_quic: bool,
    /// Why; shown in events.
    pub reason: String,
}

impl Orders {
    /// Adds what the text of a file says.
    pub fn read(mut self, text: &str, path: &Path) -> Result<Self, Error> {
        let bad = |problem| Error::Orders { path: path.to_owned(), problem };
        let file: File = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        for dedicated in &file.dedicated {
            let destination = words::destination(&dedicated.provider);
            let keys = dedicated.addresses.iter().map(|address| octets(address.to_canonical()));
            self.addresses.extend(keys.map(|key| (key, destination)));
        }
        for subjects in &file.subject {
            self.add(subjects).map_err(bad)?;
        }
        Ok(self)
    }

    /// Orders that tell nobody anything, but know where names lead, whose each destination is, and where requests name the
    /// model in their path.
    pub fn of_leads(leads: &Leads<'_>) -> Self {
        let says = |kind, value, reason| {
            let key = RuleKey { class: CLASS_NONE, kind, value };
            (key, Verdict { action: ACTION_ALLOW, reason, ..Verdict::default() })
        };
        let in_path = leads.places.iter().filter(|place| names_model_in_path(place.provider));
        let in_path =
            in_path.map(|place| says(RULE_MODEL_IN_PATH, value_at([0, 0], place.number), 0));
        let part = leads.places.iter().filter_map(|place| {
            let whole = words::destination(&place.provider.id);
            let value = [u64::from(place.number), 0];
            (whole != place.number).then(|| says(RULE_PART, value, whole))
        });
        let rules = in_path.chain(part).collect();
        Self { names: leads.names.clone(), rules, ..Self::default() }
    }

    /// Where a host leads.
    pub fn lead(&self, host: &str) -> Option<u32> {
        leads::find(host, |key| self.names.get(&key).copied())
    }

    /// Adds what policies say to a class.
    pub fn tell(&mut self, class: u32, told: &Told) {
        self.scopes.insert(class, told.scope);
        self.forms = told.forms.clone().or(self.forms.take());
        for (key, verdict, why) in told.verdicts(class) {
            self.rules.insert(key, verdict);
            self.words.insert(verdict.reason, why.to_owned());
        }
    }

    /// Adds some subjects.
    pub fn add(&mut self, subjects: &Subjects) -> Result<(), String> {
        if subjects.name.is_empty() {
            return Err("a subject has no name".to_owned());
        }
        let class = words::class(&subjects.name);
        let why = if subjects.reason.is_empty() { &subjects.name } else { &subjects.reason };
        let reason = words::reason(why);
        self.words.insert(reason, why.clone());
        for folder in &subjects.cgroups {
            let meta = fs::metadata(folder)
                .map_err(|error| format!("the cgroup {}: {error}", folder.display()))?;
            self.cgroups.insert(meta.ino(), class);
        }
        self.processes.extend(subjects.processes.iter().map(|pid| (*pid, class)));
        let verdict = |action| Verdict { action, reason, ..Verdict::default() };
        let mut put = |kind, value, action| {
            self.rules.insert(RuleKey { class, kind, value }, verdict(action));
        };
        let number =
            |name: &str| if name == "any" { DESTINATION_ANY } else { words::destination(name) };
        for (names, action) in [(&subjects.allow, ACTION_ALLOW), (&subjects.deny, ACTION_DENY)] {
            for name in names {
                put(RULE_DESTINATION, [u64::from(number(name)), 0], action);
            }
        }
        for path in &subjects.deny_paths {
            let (provider, rest) =
                path.split_once(' ').ok_or_else(|| format!("{path}: no provider"))?;
            let rest = rest.strip_prefix("* ").unwrap_or(rest);
            put(
                RULE_PATH,
                [words::hash(rest.as_bytes()), u64::from(number(provider))],
                ACTION_DENY,
            );
        }
        for (keys, action) in
            [(&subjects.allow_keys, ACTION_ALLOW), (&subjects.deny_keys, ACTION_DENY)]
        {
            for key in keys {
                put(RULE_CREDENTIAL, fingerprint(key)?, action);
            }
        }
        for (models, action) in
            [(&subjects.allow_models, ACTION_ALLOW), (&subjects.deny_models, ACTION_DENY)]
        {
            for model in models {
                put(RULE_MODEL, [words::model(model), 0], action);
            }
        }
        if !subjects.allow_keys.is_empty() {
            put(RULE_OTHER_CREDENTIAL, [0, 0], ACTION_DENY);
        }
        if !subjects.allow_models.is_empty() {
            put(RULE_OTHER_MODEL, [0, 0], ACTION_DENY);
        }
        self.scopes.insert(class, subjects.scope());
        Ok(())
    }
}

impl Subjects {
    fn scope(&self) -> u32 {
        let keys = !self.deny_keys.is_empty() || !self.allow_keys.is_empty();
        let models = !self.deny_models.is_empty() || !self.allow_models.is_empty();
        let paths = !self.deny_paths.is_empty();
        let flags = [
            (true, SCOPE_ENFORCED),
            (!self.deny.is_empty(), SCOPE_NAMES),
            (keys || models || paths, SCOPE_CONTENT),
            (keys, SCOPE_KEYS),
            (models, SCOPE_MODELS),
            (paths, SCOPE_PATHS),
            (self.refuse_opaque, SCOPE_REFUSE_OPAQUE),
            (self.refuse_quic, SCOPE_REFUSE_QUIC),
        ];
        flags.into_iter().filter(|(wanted, _)| *wanted).fold(0, |scope, (_, flag)| scope | flag)
    }
}

/// The 16 bytes of a fingerprint as the gate compares them.
pub(super) fn fingerprint(text: &str) -> Result<[u64; 2], String> {
    let half = |range: std::ops::Range<usize>| {
        text.get(range).and_then(|digits| u64::from_str_radix(digits, 16).ok())
    };
    match (text.len(), half(0..16), half(16..32)) {
        (32, Some(first), Some(second)) => Ok([first, second]),
        _ => Err(format!("{text:?} is no fingerprint: 32 hex digits")),
    }
}
