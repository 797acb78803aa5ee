//! The types of policy documents: what YAML may say, with the place of every value for messages.
//!
//! The comments of the fields are the documentation of the JSON Schema.

mod matching;
mod value;

pub(super) use matching::Entry;
pub use matching::Match;
pub use matching::Subject;
pub use matching::Window;
pub use value::At;
pub use value::Values;
pub(super) use value::given;
pub(super) use value::placed;

use schemars::JsonSchema;
use serde::Deserialize;

/// The one version of the format.
pub const API_VERSION: &str = "tollgate/v1";

/// The kinds of documents. Budgets are a kind of their own, which comes with spending.
pub const KINDS: [&str; 2] = ["EgressPolicy", "Provider"];

/// The version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Version {
    /// The one there is.
    #[serde(rename = "tollgate/v1")]
    V1,
}

/// The kind of an egress policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum PolicyKind {
    /// Says which AI calls may leave.
    EgressPolicy,
}

/// The kind of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ProviderKind {
    /// Adds a provider to the catalogue, or says that a known one is approved.
    Provider,
}

/// How far a policy goes. The decision is the same in all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Writes down what it would do.
    Observe,
    /// Writes it down, and shows it to people.
    Warn,
    /// Does it.
    Enforce,
}

impl Mode {
    /// The word that events, metrics and documents carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

/// What a rule does with the calls it matches. Of several that match, the strongest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets them pass.
    Allow,
    /// Lets them pass, and tells.
    Alert,
    /// Refuses them.
    Deny,
    /// Refuses them and kills the process.
    Kill,
}

/// What an action that was left to chance comes out as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presume {
    /// The mildest that is possible.
    #[default]
    Allow,
    /// The strictest that is possible.
    Deny,
}

/// What becomes of open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// They stay.
    #[default]
    Keep,
    /// They are cut.
    Close,
}

/// Says which AI calls may leave this machine, and who may make them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressPolicy {
    /// Version of the format.
    pub api_version: Version,
    /// What the document is.
    pub kind: PolicyKind,
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: PolicySpec,
}

/// Name and description of a document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name, of a-z, 0-9, `-`, `_` and `.`; unique among all documents of its kind.
    pub name: At<String>,
    /// What it is for.
    #[serde(default, deserialize_with = "given")]
    pub description: Option<String>,
}

/// What an egress policy says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// How far the policy goes.
    pub mode: Mode,
    /// What happens to a call of the subjects that no rule matches.
    pub default: Action,
    /// Whom the policy is about: anybody whom one entry describes. Left out: everybody.
    #[serde(default, deserialize_with = "given")]
    pub subjects: Option<At<Vec<Subject>>>,
    /// Rules; their order means nothing.
    #[serde(default, deserialize_with = "given")]
    pub rules: Option<Vec<At<Rule>>>,
    /// What holds where a rule asks about something that is not known.
    #[serde(default, deserialize_with = "given")]
    pub unknown: Option<Presume>,
    /// What holds where a rule asks about the content of a connection whose plaintext cannot be seen.
    #[serde(default, deserialize_with = "given")]
    pub opaque: Option<Presume>,
    /// What becomes of connections that are open when the policy comes into force.
    #[serde(default, deserialize_with = "given")]
    pub existing: Option<Existing>,
    /// Share of the subjects for which `mode` holds, as `10%`; for the others the policy observes. Which they are is the
    /// same on every machine.
    #[serde(default, deserialize_with = "given")]
    pub rollout: Option<At<String>>,
    /// When the policy ends by itself, as `2027-01-31T18:00:00Z`.
    #[serde(default, deserialize_with = "given")]
    pub expires: Option<At<String>>,
    /// Policies that do not apply to the subjects while this one is in force. It needs `mode: enforce`, `expires` and
    /// `reason`.
    #[serde(default, deserialize_with = "given")]
    pub suspends: Option<At<Values>>,
    /// What to tell those whom the policy concerns.
    #[serde(default, deserialize_with = "given")]
    pub reason: Option<String>,
}

/// What happens to some calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Name, unique within the policy.
    pub name: At<String>,
    /// What happens.
    pub action: Action,
    /// Which calls it happens to: those that all entries match.
    pub r#match: At<Match>,
    /// What to tell those whom the rule concerns, instead of the policy's reason.
    #[serde(default, deserialize_with = "given")]
    pub reason: Option<String>,
}

/// Adds a provider to the catalogue, or says that a known one is approved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderDocument {
    /// Version of the format.
    pub api_version: Version,
    /// What the document is.
    pub kind: ProviderKind,
    /// Name of the provider, as calls and rules carry it.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ProviderSpec,
}

/// What is to be known of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderSpec {
    /// Host names, with the wildcards of all patterns. Left out for a provider that the catalogue knows.
    #[serde(default, deserialize_with = "given")]
    pub hosts: Option<At<Vec<At<String>>>>,
    /// Language of its API.
    #[serde(default, deserialize_with = "given")]
    pub api: Option<At<Api>>,
    /// Where it looks for the key, as `header:authorization`, `query:key` or `cookie:session`.
    #[serde(default, deserialize_with = "given")]
    pub credential: Option<Vec<At<String>>>,
    /// Kind of service.
    #[serde(default, deserialize_with = "given")]
    pub category: Option<At<Category>>,
    /// Whether the company approves of it.
    #[serde(default, deserialize_with = "given")]
    pub approved: Option<bool>,
}

/// The language of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// The one most gateways and servers speak.
    Openai,
    /// Azure's deployments.
    Azure,
    /// Anthropic's.
    Anthropic,
    /// Gemini's and Vertex's.
    Gemini,
    /// Amazon Bedrock's.
    Bedrock,
    /// Cohere's.
    Cohere,
    /// None that is decoded: calls are identified and counted.
    None,
}

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// An API that answers with a model.
    LlmApi,
    /// Passes calls on to other providers.
    Gateway,
    /// An application for people.
    ChatApp,
    /// A service behind an editor.
    CodingAssistant,
    /// Speech to text, text to speech.
    Speech,
    /// Images and video.
    Image,
    /// Embeddings, reranking, vector search.
    Vector,
    /// A tool of agents.
    AgentTool,
    /// Receives copies of prompts and answers.
    Observability,
}
