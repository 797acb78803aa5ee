//! What a subject or a rule may ask about, as YAML says it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Attribute;
use crate::policy::document::At;
use crate::policy::document::Values;
use crate::policy::document::given;

/// Whom a policy is about. All entries must hold; an entry that is left out asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// Path of the executable, as the process sees it.
    #[serde(default, deserialize_with = "given")]
    pub executable: Option<At<Values>>,
    /// Path of the executable of a parent, or of a parent's parent, and so on.
    #[serde(default, deserialize_with = "given")]
    pub parent: Option<At<Values>>,
    /// Name of the effective user.
    #[serde(default, deserialize_with = "given")]
    pub user: Option<At<Values>>,
    /// Name of the user who logged in, whatever became of it by `sudo`.
    #[serde(default, deserialize_with = "given")]
    pub login_user: Option<At<Values>>,
    /// systemd unit.
    #[serde(default, deserialize_with = "given")]
    pub unit: Option<At<Values>>,
    /// cgroup path.
    #[serde(default, deserialize_with = "given")]
    pub cgroup: Option<At<Values>>,
    /// Container id.
    #[serde(default, deserialize_with = "given")]
    pub container_id: Option<At<Values>>,
    /// Container image.
    #[serde(default, deserialize_with = "given")]
    pub image: Option<At<Values>>,
    /// Container runtime: `containerd`, `cri-o`, `docker`, `podman`, `lxc`, `systemd-nspawn`.
    #[serde(default, deserialize_with = "given")]
    pub runtime: Option<At<Values>>,
    /// Kubernetes namespace.
    #[serde(default, deserialize_with = "given")]
    pub namespace: Option<At<Values>>,
    /// Name of the pod.
    #[serde(default, deserialize_with = "given")]
    pub pod: Option<At<Values>>,
    /// Name of the container within its pod.
    #[serde(default, deserialize_with = "given")]
    pub container: Option<At<Values>>,
    /// Labels of the pod; all that are named must hold.
    #[serde(default, deserialize_with = "given")]
    pub labels: Option<BTreeMap<String, At<Values>>>,
}

/// Which calls a rule is about. All entries must hold; an entry that is left out asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Path of the executable, as the process sees it.
    #[serde(default, deserialize_with = "given")]
    pub executable: Option<At<Values>>,
    /// Path of the executable of a parent, or of a parent's parent, and so on.
    #[serde(default, deserialize_with = "given")]
    pub parent: Option<At<Values>>,
    /// Name of the effective user.
    #[serde(default, deserialize_with = "given")]
    pub user: Option<At<Values>>,
    /// Name of the user who logged in, whatever became of it by `sudo`.
    #[serde(default, deserialize_with = "given")]
    pub login_user: Option<At<Values>>,
    /// systemd unit.
    #[serde(default, deserialize_with = "given")]
    pub unit: Option<At<Values>>,
    /// cgroup path.
    #[serde(default, deserialize_with = "given")]
    pub cgroup: Option<At<Values>>,
    /// Container id.
    #[serde(default, deserialize_with = "given")]
    pub container_id: Option<At<Values>>,
    /// Container image.
    #[serde(default, deserialize_with = "given")]
    pub image: Option<At<Values>>,
    /// Container runtime: `containerd`, `cri-o`, `docker`, `podman`, `lxc`, `systemd-nspawn`.
    #[serde(default, deserialize_with = "given")]
    pub runtime: Option<At<Values>>,
    /// Kubernetes namespace.
    #[serde(default, deserialize_with = "given")]
    pub namespace: Option<At<Values>>,
    /// Name of the pod.
    #[serde(default, deserialize_with = "given")]
    pub pod: Option<At<Values>>,
    /// Name of the container within its pod.
    #[serde(default, deserialize_with = "given")]
    pub container: Option<At<Values>>,
    /// Labels of the pod; all that are named must hold.
    #[serde(default, deserialize_with = "given")]
    pub labels: Option<BTreeMap<String, At<Values>>>,
    /// Provider, as `gen_ai.provider.name` of events has it.
    #[serde(default, deserialize_with = "given")]
    pub provider: Option<At<Values>>,
    /// Kind of service, as `llm-api` or `coding-assistant`.
    #[serde(default, deserialize_with = "given")]
    pub category: Option<At<Values>>,
    /// Host name.
    #[serde(default, deserialize_with = "given")]
    pub host: Option<At<Values>>,
    /// What the call does, as `chat` or `embeddings`.
    #[serde(default, deserialize_with = "given")]
    pub operation: Option<At<Values>>,
    /// Model asked for.
    #[serde(default, deserialize_with = "given")]
    pub model: Option<At<Values>>,
    /// Fingerprint of the key. For a key that is in no list: `{in: "*", not: […]}`.
    #[serde(default, deserialize_with = "given")]
    pub credential: Option<At<Values>>,
    /// Kind of the key, as `openai.project_key`.
    #[serde(default, deserialize_with = "given")]
    pub credential_kind: Option<At<Values>>,
    /// How the call travels: `plaintext` (it is seen), `opaque` (it is not), `quic`, `ech`, `unlisted` (a host of no
    /// catalogue).
    #[serde(default, deserialize_with = "given")]
    pub transport: Option<At<Values>>,
    /// Whether a `Provider` document says that its provider is approved.
    #[serde(default, deserialize_with = "given")]
    pub approved: Option<bool>,
    /// When the call is made.
    #[serde(default, deserialize_with = "given")]
    pub time: Option<At<Window>>,
}

/// A part of each week.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Time zone, as `Europe/Berlin` or `UTC`.
    pub zone: At<String>,
    /// Days on which it begins, as `mon` or `mon-fri`. Left out: every day.
    #[serde(default, deserialize_with = "given")]
    pub days: Option<At<Vec<At<String>>>>,
    /// Time of day at which it begins, as `08:00`. Left out: midnight.
    #[serde(default, deserialize_with = "given")]
    pub from: Option<At<String>>,
    /// Time of day at which it ends, as `18:30`; of the next day where that is not after `from`. Left out: midnight.
    #[serde(default, deserialize_with = "given")]
    pub to: Option<At<String>>,
}

/// An attribute and what is asked about it; with it the key, for a label.
pub(in crate::policy) type Entry<'a> = (Attribute, Option<&'a str>, &'a At<Values>);

macro_rules! entries {
    ($of:ident; $($field:ident $attribute:ident),*) => {
        impl $of {
            /// What is asked, entry by entry.
            pub(in crate::policy) fn entries(&self) -> Vec<Entry<'_>> {
                let mut entries = Vec::new();
                $(if let Some(values) = &self.$field {
                    entries.push((Attribute::$attribute, None, values));
                })*
                for (key, values) in self.labels.iter().flatten() {
                    entries.push((Attribute::Labels, Some(key.as_str()), values));
                }
                entries
            }
        }
    };
}

entries!(Subject; executable Executable, parent Parent, user User, login_user LoginUser, unit Unit, cgroup Cgroup,
    container_id ContainerId, image Image, runtime Runtime, namespace Namespace, pod Pod, container Container);
entries!(Match; executable Executable, parent Parent, user User, login_user LoginUser, unit Unit, cgroup Cgroup,
    container_id ContainerId, image Image, runtime Runtime, namespace Namespace, pod Pod, container Container,
    provider Provider, category Category, host Host, operation Operation, model Model, credential Credential,
    credential_kind CredentialKind, transport Transport);
