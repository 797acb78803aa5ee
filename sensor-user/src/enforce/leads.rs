//! The catalogue's hosts and those that policies name come in; where each name leads, in the numbers of the gate, goes out.
//!
//! A provider is one destination, unless policies tell its hosts apart: then its hosts are as many destinations as there are
//! sets of patterns that name them.

use std::collections::HashMap;
use std::collections::HashSet;

use sensor_common::gate::{DESTINATION_NONE, NAME_HEAD_AND_TAIL, NAME_TAIL, NAME_WHOLE, name_key};
use sensor_common::limits::NAMES_MAX;
use sensor_common::state::{NAME_HASH_START, name_hash_step};

use crate::policy::Hosts;
use crate::policy::Set;
use crate::provider::Catalogue;
use crate::provider::catalogue::Provider;

use super::words;

/// Stands for what a wildcard leaves open: no host has such a character, so no rule names it. A `*` stands for one label,
/// as in certificates (RFC 9525, 6.3).
const NAMELESS: &str = "\u{1}";
/// Stands for the hosts of a pattern of which some are named in a way that the gate cannot tell.
const UNCERTAIN: &str = "?";

/// Names that the gate is told of: while they change, those before and those after stand in its table.
const MOST: usize = NAMES_MAX as usize / 2;

/// Hosts of one provider of which policies say the same.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// The destination.
    pub number: u32,
    /// The patterns that name its hosts, each in a line.
    pub named: String,
    /// One of its hosts; none where policies do not ask, or cannot be answered before a call is made.
    pub host: Option<String>,
}

/// Where names lead.
#[derive(Debug, Default)]
pub struct Leads<'a> {
    /// Destinations by the key of their name.
    pub names: HashMap<u64, u32>,
    /// The destinations.
    pub places: Vec<Place<'a>>,
    /// Names that are more than the gate may be told of: they lead where their provider's pattern does, or nowhere.
    pub left: usize,
}

impl<'a> Leads<'a> {
    /// Finds the destinations; a host that carries other traffic too has no name here, it is left to its content.
    pub fn new(catalogue: &'a Catalogue, set: &Set) -> Self {
        let hosts = set.hosts();
        let mut own: HashMap<&str, Vec<&str>> = HashMap::new();
        for text in hosts.texts() {
            if let Some(provider) = catalogue.find(&some_host(text)) {
                own.entry(&provider.id).or_default().push(text);
            }
        }
        let unclear: Vec<_> = hosts.texts().filter(|text| is_unclear(text)).collect();
        let providers = catalogue.providers();
        let listed = providers.iter().flat_map(|provider| {
            let hosts = provider.hosts.iter().chain(&provider.local_hosts);
            hosts.map(move |host| (provider, host.as_str()))
        });
        let named = providers.iter().flat_map(|provider| {
            let hosts = own.get(&*provider.id).into_iter().flatten().copied();
            hosts.map(move |host| (provider, host))
        });
        // However many hosts policies name, no provider's own are crowded out.
        let patterns = listed.chain(named);
        let mut leads = Self::default();
        let mut known = HashSet::new();
        for (provider, pattern) in patterns {
            let place = place((provider, pattern), &hosts, &unclear);
            let key = words::name(&single(pattern)).filter(|_| provider.paths.is_empty());
            leads.left =
                leads.left.saturating_add(key.map_or(0, |key| leads.put(key, place.number)));
            leads.places.extend(known.insert(place.number).then_some(place));
        }
        leads
    }

    /// Says where a name leads; how many names there is no room for.
    fn put(&mut self, key: u64, number: u32) -> usize {
        let has_room = self.names.len() < MOST || self.names.contains_key(&key);
        if has_room {
            self.names.insert(key, number);
        }
        usize::from(!has_room)
    }
}

/// The destination of the hosts of a provider's pattern.
fn place<'a>(
    (provider, pattern): (&'a Provider, &str),
    hosts: &Hosts,
    unclear: &[&str],
) -> Place<'a> {
    let host = some_host(pattern);
    let naming = hosts.naming(&host);
    let is_split = |other: &&&str| !naming.contains(*other) && may_meet(pattern, other);
    let is_certain = !pattern.contains('*') || !unclear.iter().any(|other| is_split(&other));
    let named = if is_certain { naming.join("\n") } else { UNCERTAIN.to_owned() };
    let base = words::destination(&provider.id);
    let number = if named.is_empty() {
        base
    } else {
        words::destination(&format!("{}\n{named}", provider.id))
    };
    let host = (is_certain && !hosts.is_empty()).then_some(host);
    Place { provider, number, named, host }
}

/// A host that a pattern stands for, and no pattern more than need be.
fn some_host(pattern: &str) -> String {
    single(pattern).replace('*', NAMELESS)
}

/// A pattern as the catalogue writes it.
fn single(pattern: &str) -> String {
    pattern.replace("**", "*")
}

/// Whether the gate may find another pattern than this one for a host of both: only a `*` with the end behind it is certain
/// to be found, as the longest end decides.
fn is_unclear(pattern: &str) -> bool {
    let pattern = single(pattern);
    pattern.contains('*') && !(pattern.starts_with('*') && words::name(&pattern).is_some())
}

/// Whether two patterns may stand for the same host; they do not where they begin or end differently.
fn may_meet(one: &str, other: &str) -> bool {
    let head = |pattern: &str| pattern.split('*').next().unwrap_or_default().to_owned();
    let tail = |pattern: &str| pattern.rsplit('*').next().unwrap_or_default().to_owned();
    let heads = (head(one), head(other));
    let tails = (tail(one), tail(other));
    (heads.0.starts_with(&heads.1) || heads.1.starts_with(&heads.0))
        && (tails.0.ends_with(&tails.1) || tails.1.ends_with(&tails.0))
}

/// Where a host leads, as the gate finds it: the whole name, else the longest of its tails that is known.
pub(super) fn find(host: &str, name: impl Fn(u64) -> Option<u32>) -> Option<u32> {
    let host = host.split(':').next().unwrap_or(host).trim_end_matches('.').to_ascii_lowercase();
    let label_end = host.find('.').map_or(host.len(), |dot| dot.saturating_add(1));
    let label = host.bytes().take(label_end).fold(NAME_HASH_START, name_hash_step);
    let mut hash = NAME_HASH_START;
    let mut found = None;
    for byte in host.bytes().rev() {
        hash = name_hash_step(hash, byte);
        if matches!(byte, b'.' | b'-') {
            let known = name(name_key(hash, NAME_TAIL, 0))
                .or_else(|| name(name_key(hash, NAME_HEAD_AND_TAIL, label)));
            found = known.or(found);
        }
    }
    let found = name(name_key(hash, NAME_WHOLE, 0)).or(found);
    found.filter(|number| *number != DESTINATION_NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    fn set(mode: &str, hosts: &str) -> Set {
        let text = format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: {mode}\n  default: allow\n  rules:\n    - {{name: r, action: deny, match: {{host: {hosts}}}}}\n"
        );
        Set::read(&[Source { file: "test.yaml".to_owned(), text }]).unwrap().0
    }

    #[test]
    fn every_name_leads_to_its_provider_where_no_policy_tells_hosts_apart() {
        let catalogue = Catalogue::bundled().unwrap();
        for set in [Set::default(), set("warn", "api.openai.com")] {
            let leads = Leads::new(&catalogue, &set);
            assert_eq!(leads.places.len(), catalogue.providers().len());
            let hosts = catalogue.ai_hosts().filter(|host| !host.mixed);
            for host in hosts.filter(|host| words::name(host.pattern).is_some()) {
                let some = some_host(host.pattern);
                let behind = catalogue.find(&some).unwrap();
                let number = find(&some, |key| leads.names.get(&key).copied());
                assert_eq!(number, Some(words::destination(&behind.id)), "{}", host.pattern);
            }
            assert_eq!(leads.left, 0);
        }
    }

    #[test]
    fn regions_of_a_provider_lead_to_it_and_a_back_end_of_much_else_leads_nowhere() {
        const CASES: [(&str, Option<&str>); 9] = [
            ("au.api.openai.com", Some("openai")),
            ("ca.api.openai.com", Some("openai")),
            ("sg.api.openai.com", Some("openai")),
            ("kr.api.openai.com", Some("openai")),
            ("gb.api.openai.com", Some("openai")),
            ("ae.api.openai.com", Some("openai")),
            ("vpce-0a1b-2c3d.bedrock-runtime.us-east-1.vpce.amazonaws.com", Some("bedrock")),
            ("vpce-0a1b-2c3d.s3.us-east-1.vpce.amazonaws.com", None),
            ("substrate.office.com", None),
        ];
        let catalogue = Catalogue::bundled().unwrap();
        let leads = Leads::new(&catalogue, &Set::default());
        for (host, provider) in CASES {
            let found = find(host, |key| leads.names.get(&key).copied());
            assert_eq!(found, provider.map(words::destination), "{host}");
        }
    }

    #[test]
    fn hosts_that_policies_name_are_destinations_of_their_own() {
        let catalogue = Catalogue::bundled().unwrap();
        let set = set("enforce", "[api.groq.com, one.openai.azure.com, \"*.api.openai.com\"]");
        let leads = Leads::new(&catalogue, &set);
        let to = |host: &str| find(host, |key| leads.names.get(&key).copied());
        let base = |host: &str| Some(words::destination(&catalogue.find(host).unwrap().id));
        for (host, is_named) in [
            ("api.groq.com", true),
            ("one.openai.azure.com", true),
            ("two.openai.azure.com", false),
            ("api.anthropic.com", false),
            ("example.com", false),
        ] {
            let found = to(host);
            if catalogue.find(host).is_none() {
                assert_eq!(found, None, "{host}");
            } else {
                assert_eq!(found != base(host), is_named, "{host}");
            }
            if is_named {
                let place = leads.places.iter().find(|place| Some(place.number) == found).unwrap();
                assert_eq!(place.host.as_deref(), Some(host));
            }
        }
    }

    #[test]
    fn pattern_that_the_gate_cannot_tell_leaves_the_hosts_it_may_name_to_the_agent() {
        let catalogue = Catalogue::bundled().unwrap();
        // Of the second, the longer end of the catalogue's pattern is found first.
        for (pattern, host) in [
            ("\"eu-*.openai.azure.com\"", "eu-1.openai.azure.com"),
            ("\"eu.*.azure.com\"", "eu.openai.azure.com"),
        ] {
            let set = set("enforce", pattern);
            let leads = Leads::new(&catalogue, &set);
            let found = find(host, |key| leads.names.get(&key).copied());
            let place = leads.places.iter().find(|place| Some(place.number) == found).unwrap();
            assert_eq!((&*place.named, &place.host), (UNCERTAIN, &None), "{pattern}");
            let groq = find("api.groq.com", |key| leads.names.get(&key).copied());
            assert_eq!(groq, Some(words::destination(&catalogue.find("api.groq.com").unwrap().id)));
        }
    }

    #[test]
    fn many_hosts_that_policies_name_crowd_out_none_of_the_catalogue() {
        let catalogue = Catalogue::bundled().unwrap();
        let named = (0..MOST).map(|at| format!("h{at}.openai.azure.com"));
        let set = set("enforce", &format!("[{}]", named.collect::<Vec<_>>().join(", ")));
        let leads = Leads::new(&catalogue, &set);
        let listed = catalogue.ai_hosts().filter(|host| !host.mixed);
        for host in listed.filter(|host| words::name(host.pattern).is_some()) {
            let some = some_host(host.pattern);
            let found = find(&some, |key| leads.names.get(&key).copied());
            assert!(found.is_some(), "{}", host.pattern);
        }
        assert_eq!(leads.names.len(), MOST);
        assert_ne!(leads.left, 0);
    }
}
