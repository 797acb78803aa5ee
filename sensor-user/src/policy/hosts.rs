//! The policies of a set come in; which of the hosts that they name a host is goes out.

use std::collections::BTreeMap;

use crate::policy::Attribute;
use crate::policy::Set;
use crate::policy::condition::Patterns;

/// The patterns by which enforcing policies name hosts.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    patterns: Patterns,
}

impl Set {
    /// The hosts that enforcing policies name.
    pub fn hosts(&self) -> Hosts {
        let all = self.patterns(Attribute::Host);
        let patterns: BTreeMap<_, _> = all.map(|pattern| (pattern.as_str(), pattern)).collect();
        Hosts { patterns: Patterns::new(patterns.into_values().cloned().collect()) }
    }
}

impl Hosts {
    /// Whether no policy asks for a host.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns as they are written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(super::pattern::Pattern::as_str)
    }

    /// The patterns that a host matches, in order: of two hosts with the same ones every policy says the same.
    pub fn naming(&self, host: &str) -> Vec<&str> {
        let mut naming = self.patterns.naming(host);
        naming.sort_unstable();
        naming
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    #[test]
    fn hosts_of_enforcing_policies_are_found_by_name_and_by_pattern() {
        let policy = |name, mode, hosts| {
            format!(
                "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: {name}}}\nspec:\n  mode: {mode}\n  default: allow\n  rules:\n    - {{name: r, action: deny, match: {{host: {hosts}}}}}\n"
            )
        };
        let text = format!(
            "{}---\n{}",
            policy("a", "enforce", "[API.x.com, \"*.x.com\"]"),
            policy("b", "warn", "api.y.com")
        );
        let source = Source { file: "test.yaml".to_owned(), text };
        let hosts = Set::read(&[source]).unwrap().0.hosts();
        assert_eq!(hosts.naming("api.x.com"), ["*.x.com", "api.x.com"]);
        assert_eq!(hosts.naming("eu.x.com"), ["*.x.com"]);
        assert!(hosts.naming("api.y.com").is_empty());
        assert!(!hosts.is_empty() && Set::default().hosts().is_empty());
    }
}
