//! The text of one data row comes in; a checked provider goes out.

use serde::Deserialize;

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;

/// Which paths a provider understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `OpenAI`'s paths, below any prefix; Anthropic's as well.
    Openai,
    /// Azure's deployments, and `OpenAI`'s paths.
    Azure,
    /// Anthropic's paths; `OpenAI`'s as well.
    Anthropic,
    /// Gemini and Vertex.
    Gemini,
    /// Amazon Bedrock.
    Bedrock,
    /// Cohere.
    Cohere,
    /// Not decoded: identified and counted, beyond the row's own `routes`.
    #[default]
    None,
}

/// What kind of service a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// An API that answers with a model.
    LlmApi,
    /// A service that passes calls on to other providers.
    Gateway,
    /// A web or desktop application for people.
    ChatApp,
    /// A service behind an editor.
    CodingAssistant,
    /// Speech to text, text to speech.
    Speech,
    /// Images and video.
    Image,
    /// Embeddings, reranking, vector search.
    Vector,
    /// A service that agents use as a tool.
    AgentTool,
    /// A service that receives copies of prompts and answers.
    Observability,
}

impl Category {
    /// All kinds of service.
    pub fn all() -> impl Iterator<Item = Self> {
        use Category::{
            AgentTool, ChatApp, CodingAssistant, Gateway, Image, LlmApi, Observability, Speech,
            Vector,
        };
        [LlmApi, Gateway, ChatApp, CodingAssistant, Speech, Image, Vector, AgentTool, Observability]
            .into_iter()
    }

    /// The word that events and data rows carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LlmApi => "llm-api",
            Self::Gateway => "gateway",
            Self::ChatApp => "chat-app",
            Self::CodingAssistant => "coding-assistant",
            Self::Speech => "speech",
            Self::Image => "image",
            Self::Vector => "vector",
            Self::AgentTool => "agent-tool",
            Self::Observability => "observability",
        }
    }
}

/// Where a provider looks for a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthPlace {
    /// A header field.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// What follows this beginning in `Sec-WebSocket-Protocol`.
    Subprotocol(String),
}

/// A path of a provider that its `api` does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRow {
    /// Path, `*` for any run of characters.
    pub path: String,
    /// What a request to it does.
    pub operation: Operation,
    /// Shape of the answer.
    pub shape: Shape,
    /// Key in the price table, where these calls have prices of their own.
    pub price: Option<String>,
}

/// One provider of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Name of the row, unique.
    pub id: String,
    /// `gen_ai.provider.name`.
    pub name: String,
    /// Key of the provider in the price table.
    pub price: String,
    /// Kind of service.
    pub category: Category,
    /// Paths understood.
    pub api: Api,
    /// How its usage figures depart from the common ones.
    pub dialect: Dialect,
    /// Host names; `*` stands for any run of characters.
    pub hosts: Vec<String>,
    /// Host names that the user added; here `*` stays within a label.
    pub local_hosts: Vec<String>,
    /// The only paths that are AI calls, where the hosts carry other traffic too.
    pub paths: Vec<String>,
    /// Paths beyond those of `api`.
    pub routes: Vec<RouteRow>,
    /// Where the credential stands, the usual place first.
    pub auth: Vec<AuthPlace>,
    /// Region by host; the value `*` is what the last `*` of the host stands for.
    pub geo: Vec<(String, String)>,
}

/// What a policy document says of a provider: a company's own gateway, an internal server, more hosts of a known one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// `gen_ai.provider.name`.
    pub name: String,
    /// Kind of service, where it is said.
    pub category: Option<Category>,
    /// Paths understood, where it is said.
    pub api: Option<Api>,
    /// Host names; `*` stays within a label.
    pub hosts: Vec<String>,
    /// Where the credential stands, where it is said.
    pub auth: Vec<AuthPlace>,
}

impl Local {
    /// The provider, where nothing else is known of it.
    pub(super) fn provider(&self) -> Provider {
        Provider {
            id: self.name.clone(),
            name: self.name.clone(),
            price: self.name.clone(),
            category: self.category.unwrap_or(Category::LlmApi),
            api: self.api.unwrap_or(Api::Openai),
            dialect: Dialect::default(),
            hosts: Vec::new(),
            local_hosts: self.hosts.clone(),
            paths: Vec::new(),
            routes: Vec::new(),
            auth: self.auth.clone(),
            geo: Vec::new(),
        }
    }

    /// Adds its hosts and places of credentials to the row of the same name. All hosts of a provider are read alike: an
    /// error names what it says otherwise than the row.
    pub(super) fn add_to(&self, known: &mut Provider) -> Result<(), &'static str> {
        if self.api.is_some_and(|api| api != known.api) {
            return Err("api");
        }
        if self.category.is_some_and(|category| category != known.category) {
            return Err("category");
        }
        known.local_hosts.extend(self.hosts.iter().cloned());
        let new = self.auth.iter().filter(|place| !known.auth.contains(place)).cloned();
        let new: Vec<_> = new.collect();
        known.auth.extend(new);
        Ok(())
    }
}

impl Provider {
    /// Region that a host of this provider stands for: its own, else what the pattern that leaves least open says; a host
    /// that the row names by itself is in no other.
    pub(super) fn geo_of(&self, host: &str) -> Option<String> {
        if self.hosts.iter().any(|known| known == host) {
            return self.geo.iter().find(|(name, _)| name == host).map(|(_, geo)| geo.clone());
        }
        let patterns = self.geo.iter().filter(|(_, geo)| geo == "*");
        let regions = patterns.filter_map(|(pattern, _)| region_in(pattern, host));
        regions.min_by_key(|region| region.len()).map(str::to_owned)
    }
}

/// What the last `*` of a pattern stands for in a host.
fn region_in<'a>(pattern: &str, host: &'a str) -> Option<&'a str> {
    let (before, after) = pattern.rsplit_once('*')?;
    let rest = host.strip_suffix(after)?;
    match before.rsplit_once('*') {
        None => rest.strip_prefix(before),
        Some((first, between)) => Some(rest.strip_prefix(first)?.rsplit_once(between)?.1),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    name: Option<String>,
    price: Option<String>,
    category: Category,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    dialect: Dialect,
    hosts: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    routes: Vec<RawRoute>,
    #[serde(default)]
    auth: Vec<String>,
    #[serde(default)]
    geo: toml::Table,
    source: String,
    checked: toml::value::Datetime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    path: String,
    operation: String,
    #[serde(default)]
    shape: Option<String>,
    #[serde(default)]
    price: Option<String>,
}

/// Reads one row; the error says what is wrong with it.
pub(super) fn read(table: toml::Table) -> Result<Provider, String> {
    let row: Row = table.try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if row.id.is_empty() || !row.id.bytes().all(fits) {
        return Err("id must be of a-z, 0-9 and _".to_owned());
    }
    if row.hosts.is_empty() {
        return Err("hosts is empty".to_owned());
    }
    if let Some(host) = row.hosts.iter().find(|host| !is_host(host)) {
        return Err(format!("host {host:?} is no lowercase host name, or its `*` covers too much"));
    }
    if let Some(path) = row.paths.iter().find(|path| !path.starts_with(['/', '*'])) {
        return Err(format!("path {path:?} must begin with / or *"));
    }
    if row.source.is_empty() || row.checked.date.is_none() {
        return Err("source and the date in checked must say where the row comes from".to_owned());
    }
    let mut geo = Vec::new();
    for (host, value) in row.geo {
        let value = value.as_str().ok_or_else(|| format!("geo of {host:?} must be text"))?;
        if !row.hosts.contains(&host) {
            return Err(format!("geo names {host:?}, which is not in hosts"));
        }
        geo.push((host, value.to_owned()));
    }
    let name = row.name.unwrap_or_else(|| row.id.clone());
    Ok(Provider {
        price: row.price.unwrap_or_else(|| row.id.clone()),
        name,
        id: row.id,
        category: row.category,
        api: row.api,
        dialect: row.dialect,
        hosts: row.hosts,
        local_hosts: Vec::new(),
        paths: row.paths,
        routes: row.routes.into_iter().map(route).collect::<Result<_, _>>()?,
        auth: row.auth.iter().map(|place| auth(place)).collect::<Result<_, _>>()?,
        geo,
    })
}

/// A host name in lowercase; behind its last `*` two whole labels must stand, or half the internet would match.
pub(crate) fn is_host(host: &str) -> bool {
    let fits =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'*');
    let fixed = host.rsplit('*').next().unwrap_or(host);
    let labels = fixed.split('.').filter(|label| !label.is_empty()).count();
    let least = if host.contains('*') && !fixed.starts_with('.') { 3 } else { 2 };
    let joined = host.contains('*') && !fixed.starts_with(['.', '-']);
    // Names are looked up without the dot of the root, and no label is empty.
    let empty = host.starts_with('.') || host.ends_with('.') || host.contains("..");
    labels >= least && !joined && !empty && host.bytes().all(fits)
}

fn route(raw: RawRoute) -> Result<RouteRow, String> {
    let operation = Operation::from_name(&raw.operation)
        .ok_or_else(|| format!("unknown operation {:?}", raw.operation))?;
    let shape = raw.shape.as_deref().unwrap_or("none").parse::<Shape>();
    let shape = shape.map_err(|e| e.to_string())?;
    Ok(RouteRow { path: raw.path, operation, shape, price: raw.price })
}

fn auth(place: &str) -> Result<AuthPlace, String> {
    let (kind, name) = place.split_once(':').unwrap_or((place, ""));
    let name = (!name.is_empty()).then(|| name.to_owned());
    let name = name.ok_or_else(|| format!("auth {place:?} is not written as place:name"))?;
    match kind {
        "header" => Ok(AuthPlace::Header(name)),
        "query" => Ok(AuthPlace::Query(name)),
        "cookie" => Ok(AuthPlace::Cookie(name)),
        "subprotocol" => Ok(AuthPlace::Subprotocol(name)),
        _ => Err(format!("auth {place:?} names no place: header, query, cookie or subprotocol")),
    }
}
