//! Data rows come in once; the provider behind a host name goes out for each request.

use std::collections::HashMap;

use crate::provider::row;
pub use crate::provider::row::Api;
pub use crate::provider::row::AuthPlace;
pub use crate::provider::row::Category;
pub use crate::provider::row::Local;
pub use crate::provider::row::Provider;
pub use crate::provider::row::RouteRow;
pub(crate) use crate::provider::row::is_host;

/// The rows that come with the program.
const BUNDLED: &str = include_str!("../../data/providers.toml");

/// Why a catalogue cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not TOML.
    #[error("reading the provider rows of {origin}")]
    Syntax {
        /// `bundled`, `override` or `policies`.
        origin: &'static str,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A row cannot be used.
    #[error("provider row {row:?} of {origin}: {problem}")]
    Row {
        /// `bundled`, `override` or `policies`.
        origin: &'static str,
        /// Its id, or its number where it has none.
        row: String,
        /// What is wrong.
        problem: String,
    },
}

/// A host name or pattern that leads to AI.
#[derive(Clone, Copy, Debug)]
pub struct AiHost<'a> {
    /// Lowercase name; `*` stands for any run of characters.
    pub pattern: &'a str,
    /// The provider behind it.
    pub provider: &'a Provider,
    /// Whether the host carries other traffic too, so that the name alone proves nothing.
    pub mixed: bool,
}

/// A host name with wildcards.
#[derive(Debug)]
struct HostPattern {
    text: String,
    /// Place of its provider.
    at: usize,
    /// Whether each `*` stays within a label.
    is_local: bool,
}

impl HostPattern {
    fn matches(&self, name: &str) -> bool {
        // As many dots as the pattern has: no `*` took one.
        let dots = |text: &str| text.bytes().filter(|byte| *byte == b'.').count();
        glob(&self.text, name) && (!self.is_local || dots(&self.text) == dots(name))
    }
}

/// All known providers, by host.
#[derive(Debug)]
pub struct Catalogue {
    providers: Vec<Provider>,
    exact: HashMap<String, usize>,
    /// Patterns by their last two labels, the longest first.
    patterns: HashMap<String, Vec<HostPattern>>,
}

impl Catalogue {
    /// Builds the catalogue from the bundled rows.
    pub fn bundled() -> Result<Self, Error> {
        Self::with_overrides("")
    }

    /// Builds the catalogue from the bundled rows and the text of an override file in the same format: a row with a
    /// known id replaces that row, and a host of an override belongs to the override.
    pub fn with_overrides(text: &str) -> Result<Self, Error> {
        Self::with_local(text, &[])
    }

    /// As `with_overrides`, with providers that policy documents add. One of a known name adds its hosts and
    /// places of credentials to that one, and may say nothing else of it than the row does.
    pub fn with_local(text: &str, local: &[Local]) -> Result<Self, Error> {
        let overrides = parse(text, "override")?;
        let mut providers = parse(BUNDLED, "bundled")?;
        providers.retain(|known| overrides.iter().all(|newer| newer.id != known.id));
        providers.extend(overrides);
        for added in local {
            let Some(known) = providers.iter_mut().find(|known| known.name == added.name) else {
                providers.push(added.provider());
                continue;
            };
            added.add_to(known).map_err(|key| Error::Row {
                origin: "policies",
                row: added.name.clone(),
                problem: format!(
                    "the catalogue knows it with another `{key}`: leave that out, or replace the row in `files.providers`"
                ),
            })?;
        }
        Ok(Self::index(providers))
    }

    fn index(providers: Vec<Provider>) -> Self {
        let mut exact: HashMap<String, usize> = HashMap::new();
        let mut patterns: HashMap<String, Vec<HostPattern>> = HashMap::new();
        // The user's own come last: they win.
        let listed = providers
            .iter()
            .enumerate()
            .flat_map(|(at, p)| p.hosts.iter().map(move |host| (host, at, false)));
        let local = providers
            .iter()
            .enumerate()
            .flat_map(|(at, p)| p.local_hosts.iter().map(move |host| (host, at, true)));
        for (host, at, is_local) in listed.chain(local) {
            if host.contains('*') {
                let group = patterns.entry(last_labels(host).to_owned()).or_default();
                group.retain(|known| known.text != *host);
                group.push(HostPattern { text: host.clone(), at, is_local });
            } else {
                exact.insert(host.clone(), at);
            }
        }
        for group in patterns.values_mut() {
            group.sort_by_key(|pattern| std::cmp::Reverse(pattern.text.len()));
        }
        Self { providers, exact, patterns }
    }

    /// The provider behind a host name (with or without port); an exact name wins over a pattern, a long pattern over
    /// a short one.
    pub fn find(&self, host: &str) -> Option<&Provider> {
        let name = host.split(':').next().unwrap_or(host).trim_end_matches('.');
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find(&name.to_ascii_lowercase());
        }
        let at = self.exact.get(name).or_else(|| {
            let group = self.patterns.get(last_labels(name))?;
            group.iter().find(|pattern| pattern.matches(name)).map(|pattern| &pattern.at)
        });
        self.providers.get(*at?)
    }

    /// All names and patterns with their providers, in the order of the rows.
    pub fn ai_hosts(&self) -> impl Iterator<Item = AiHost<'_>> {
        self.providers.iter().flat_map(|provider| {
            provider.hosts.iter().chain(&provider.local_hosts).map(move |pattern| AiHost {
                pattern,
                provider,
                mixed: !provider.paths.is_empty(),
            })
        })
    }

    /// All providers, in the order of the rows.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }
}

fn parse(text: &str, origin: &'static str) -> Result<Vec<Provider>, Error> {
    let syntax = |source| Error::Syntax { origin, source: Box::new(source) };
    let mut document: toml::Table = text.parse().map_err(syntax)?;
    let refused = |row: String, problem: String| Error::Row { origin, row, problem };
    let rows = document.remove("provider").unwrap_or(toml::Value::Array(Vec::new()));
    if let Some(key) = document.keys().next() {
        return Err(refused(key.clone(), "only [[provider]] may stand at the top".to_owned()));
    }
    let toml::Value::Array(rows) = rows else {
        return Err(refused("provider".to_owned(), "write [[provider]]".to_owned()));
    };
    let mut providers: Vec<Provider> = Vec::with_capacity(rows.len());
    let mut hosts: HashMap<String, String> = HashMap::new();
    for (at, row) in rows.into_iter().enumerate() {
        let toml::Value::Table(table) = row else {
            return Err(refused(format!("#{at}"), "is no table".to_owned()));
        };
        let id = table.get("id").and_then(toml::Value::as_str);
        let id = id.map_or_else(|| format!("#{at}"), str::to_owned);
        let provider = row::read(table).map_err(|problem| refused(id.clone(), problem))?;
        if providers.iter().any(|known| known.id == id) {
            return Err(refused(id, "stands twice".to_owned()));
        }
        for host in &provider.hosts {
            if let Some(other) = hosts.insert(host.clone(), id.clone()) {
                return Err(refused(id, format!("host {host:?} stands in row {other:?} too")));
            }
        }
        providers.push(provider);
    }
    Ok(providers)
}

/// The part of a name or pattern from its last but one label on.
fn last_labels(name: &str) -> &str {
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    dots.nth(1).and_then(|at| name.get(at.saturating_add(1)..)).unwrap_or(name)
}

/// Whether a text matches a pattern as a whole; `*` stands for any run of characters, nothing included.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_rows_are_good_and_every_host_leads_to_its_row() {
        let catalogue = Catalogue::bundled().unwrap();
        assert!(catalogue.providers().len() > 78);
        for host in catalogue.ai_hosts() {
            let name = host.pattern.replace('*', "zz-9");
            let found = catalogue.find(&name).map(|p| p.id.as_str());
            assert_eq!(found, Some(host.provider.id.as_str()), "{}", host.pattern);
        }
    }

    const VPC_ENDPOINT: &str =
        "vpce-0a1b2c3d4e5f60718-abcdefgh.bedrock-runtime.us-east-1.vpce.amazonaws.com";

    #[test]
    fn names_that_clients_use_lead_to_their_provider() {
        const CASES: &[(&str, &str)] = &[
            ("openai", "au.api.openai.com ca.api.openai.com sg.api.openai.com"),
            ("openai", "kr.api.openai.com gb.api.openai.com ae.api.openai.com"),
            ("bedrock", VPC_ENDPOINT),
            ("bedrock", "vpce-0-1.bedrock-runtime.zz-new-1.vpce.amazonaws.com"),
            ("openrouter", "eu.openrouter.ai us.openrouter.ai"),
            ("perplexity_app", "www.perplexity.ai"),
            ("kimi_app", "www.kimi.com"),
            ("meta_app", "www.meta.ai"),
            ("doubao_app", "www.doubao.com www.coze.com"),
            ("phind", "www.phind.com"),
            ("grammarly", "capi.grammarly.com"),
            ("jasper", "app.jasper.ai"),
        ];
        let catalogue = Catalogue::bundled().unwrap();
        for (id, hosts) in CASES {
            for host in hosts.split(' ') {
                assert_eq!(catalogue.find(host).map(|p| p.id.as_str()), Some(*id), "{host}");
            }
        }
        assert!(catalogue.find("vpce-0-1.s3.us-east-1.vpce.amazonaws.com").is_none());
    }

    #[test]
    fn look_alikes_lead_nowhere() {
        const CASES: &[&str] = &[
            "api.openai.com.evil.example",
            "xapi.openai.com",
            "openai.com",
            "api-openai.com",
            "storage.googleapis.com",
            "evilopenai.azure.com",
            "s3.us-east-1.amazonaws.com",
            "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
            "",
            ".",
            "localhost",
        ];
        let catalogue = Catalogue::bundled().unwrap();
        for host in CASES {
            assert!(catalogue.find(host).is_none(), "{host}");
        }
    }

    #[test]
    fn names_are_found_with_port_dot_and_capitals() {
        let catalogue = Catalogue::bundled().unwrap();
        for host in ["api.openai.com:8443", "api.openai.com.", "API.OpenAI.com"] {
            assert_eq!(catalogue.find(host).map(|p| p.id.as_str()), Some("openai"), "{host}");
        }
    }

    #[test]
    fn regions_come_from_the_host() {
        const CASES: &[(&str, Option<&str>)] = &[
            ("api.openai.com", None),
            ("eu.api.openai.com", Some("eu")),
            ("bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1")),
            ("europe-west4-aiplatform.googleapis.com", Some("europe-west4")),
            ("au.api.openai.com", Some("au")),
            ("mtls.api.openai.com", None),
            ("mtls-eu.api.openai.com", Some("eu")),
            ("mtls-ca.api.openai.com", Some("ca")),
            ("eu.openrouter.ai", Some("eu")),
            (VPC_ENDPOINT, Some("us-east-1")),
        ];
        let catalogue = Catalogue::bundled().unwrap();
        for (host, geo) in CASES {
            assert_eq!(catalogue.find(host).unwrap().geo_of(host).as_deref(), *geo, "{host}");
        }
    }

    #[test]
    fn an_override_replaces_a_row_and_takes_over_hosts() {
        let text = "[[provider]]\nid = \"openai\"\ncategory = \"gateway\"\nhosts = [\"llm.corp.example\", \"api.groq.com\"]\n\
            source = \"test\"\nchecked = 2026-11-23\n";
        let catalogue = Catalogue::with_overrides(text).unwrap();
        let id = |host| catalogue.find(host).map(|p| p.id.as_str());
        assert_eq!((id("llm.corp.example"), id("api.groq.com")), (Some("openai"), Some("openai")));
        assert_eq!(id("api.openai.com"), None);
    }

    #[test]
    fn document_adds_hosts_to_a_known_provider_and_contradicts_it_in_nothing() {
        let name = || "openai".to_owned();
        let hosts = || vec!["llm.corp.example".to_owned()];
        let said = |local: Local| Catalogue::with_local("", &[local]).map_err(|e| e.to_string());
        let row = || Local { name: name(), hosts: hosts(), ..Local::default() };
        for (local, key) in [
            (Local { api: Some(Api::Azure), ..row() }, "api"),
            (Local { category: Some(Category::Gateway), ..row() }, "category"),
        ] {
            let error = said(local).unwrap_err();
            assert!(error.contains("\"openai\" of policies") && error.contains(key), "{error}");
        }
        let auth = vec![AuthPlace::Header("x-key".to_owned())];
        let (api, category) = (Some(Api::Openai), Some(Category::LlmApi));
        let catalogue = said(Local { api, category, auth: auth.clone(), ..row() }).unwrap();
        let found = catalogue.find("llm.corp.example").unwrap();
        assert_eq!((&*found.name, found.auth.last()), ("openai", auth.last()));
        let own = Local { name: "corp".to_owned(), api: Some(Api::Azure), auth, ..row() };
        let catalogue = said(own).unwrap();
        let found = catalogue.find("llm.corp.example").unwrap();
        assert_eq!((found.api, found.category), (Api::Azure, Category::LlmApi));
    }

    #[test]
    fn a_bad_row_is_named() {
        const GOOD: &str = "category = \"llm-api\"\nsource = \"s\"\nchecked = 2026-11-23\n";
        const CASES: &[(&str, &str)] = &[
            ("id = \"a\"\nhosts = []", "hosts is empty"),
            ("id = \"a\"\nhosts = [\"*.com\"]", "covers too much"),
            ("id = \"a\"\nhosts = [\"*example.com\"]", "covers too much"),
            ("id = \"a\"\nhosts = [\"Upper.example\"]", "lowercase"),
            ("id = \"a\"\nhosts = [\"a.example.\"]", "is no lowercase host name"),
            ("id = \"a\"\nhosts = [\"a.example\", \"a.example\"]", "stands in row"),
            ("id = \"a\"\nhosts = [\"a.example\"]\nauth = [\"body:x\"]", "names no place"),
            (
                "id = \"a\"\nhosts = [\"a.example\"]\nroutes = [{ path = \"/x\", operation = \"fly\" }]",
                "unknown operation",
            ),
            ("id = \"a\"\nhosts = [\"a.example\"]\nwhat = 1", "unknown field"),
            (
                "id = \"a\"\nhosts = [\"a.example\"]\ngeo = { \"b.example\" = \"eu\" }",
                "not in hosts",
            ),
            ("hosts = [\"a.example\"]", "missing field `id`"),
        ];
        for (row, problem) in CASES {
            let text = format!("[[provider]]\n{row}\n{GOOD}");
            let error = Catalogue::with_overrides(&text).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("override"), "{error}");
        }
        assert!(matches!(Catalogue::with_overrides("[[provider"), Err(Error::Syntax { .. })));
    }

    #[test]
    fn patterns_are_anchored_at_both_ends() {
        const CASES: &[(&str, &str, bool)] = &[
            ("*.b.c", "a.b.c", true),
            ("*.b.c", "b.c", false),
            ("*.b.c", "a.b.c.d", false),
            ("a.*.c", "a.x.y.c", true),
            ("a.*.c", "a.c", false),
            ("/v*/chat/*", "/v1/chat/x", true),
            ("*", "", true),
            ("a", "ab", false),
            ("ab*ba", "aba", false),
        ];
        for (pattern, text, expected) in CASES {
            assert_eq!(glob(pattern, text), *expected, "{pattern} {text}");
        }
    }
}
