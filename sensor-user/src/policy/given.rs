//! Facts as tests, command lines and recorded events write them come in; the facts of one call go out.

use std::sync::LazyLock;

use serde_json::Map;
use serde_json::Value;

use crate::policy::Attribute;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Transport;
use crate::policy::facts::TRANSPORTS;
use crate::policy::problem::advice;
use crate::provider::Catalogue;

/// Facts that own their texts. What is not given is absent, unless it is said to be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    texts: Vec<(Attribute, String)>,
    parents: Vec<String>,
    labels: Vec<(String, String)>,
    transports: Vec<Transport>,
    unknown: Vec<Attribute>,
    /// Ways to travel of which it is not known whether it did.
    unsure: Vec<Transport>,
}

/// The rows that come with the program: an event does not say whether its host carries other traffic too.
static ROWS: LazyLock<Option<Catalogue>> = LazyLock::new(|| Catalogue::bundled().ok());

/// Attributes of events that tell of the attributes of policies.
const RECORDED: [(&str, Attribute); 19] = [
    ("process.executable.path", Attribute::Executable),
    ("user.name", Attribute::User),
    ("tollgate.login_user", Attribute::LoginUser),
    ("systemd.unit", Attribute::Unit),
    ("tollgate.cgroup", Attribute::Cgroup),
    ("container.id", Attribute::ContainerId),
    ("container.image.name", Attribute::Image),
    ("container.runtime.name", Attribute::Runtime),
    ("k8s.namespace.name", Attribute::Namespace),
    ("k8s.pod.name", Attribute::Pod),
    ("k8s.container.name", Attribute::Container),
    ("container.name", Attribute::Container),
    ("gen_ai.provider.name", Attribute::Provider),
    ("tollgate.provider.category", Attribute::Category),
    ("server.address", Attribute::Host),
    ("gen_ai.operation.name", Attribute::Operation),
    ("gen_ai.request.model", Attribute::Model),
    ("tollgate.credential.fingerprint", Attribute::Credential),
    ("tollgate.credential.kind", Attribute::CredentialKind),
];

/// Attributes of events that tell of labels.
const LABELS: [&str; 2] = ["k8s.pod.label.", "container.label."];
/// Labels that an event tells of at most: there may be more.
const LABELS_SHOWN_MAX: usize = 16;

/// Attributes of the process: without its executable nothing of it is known.
const OF_PROCESS: [Attribute; 12] = [
    Attribute::Executable,
    Attribute::User,
    Attribute::LoginUser,
    Attribute::Unit,
    Attribute::Cgroup,
    Attribute::ContainerId,
    Attribute::Image,
    Attribute::Runtime,
    Attribute::Namespace,
    Attribute::Pod,
    Attribute::Container,
    Attribute::Labels,
];

impl Given {
    /// Puts one fact, by the name that documents carry; a label as `key=value`. An error says what is wrong with it.
    pub fn put(&mut self, name: &str, value: &str) -> Result<(), String> {
        match attribute(name)? {
            Attribute::Parent => self.parents.push(value.to_owned()),
            Attribute::Labels => {
                let (key, value) = value
                    .split_once('=')
                    .ok_or_else(|| format!("label `{value}` is no key=value"))?;
                self.labels.push((key.to_owned(), value.to_owned()));
            }
            Attribute::Transport => {
                let known = TRANSPORTS.iter().find(|(_, word)| *word == value);
                let words = TRANSPORTS.iter().map(|(_, word)| *word);
                let (way, _) = known.ok_or_else(|| {
                    format!("unknown transport `{value}`; {}", advice(value, words))
                })?;
                self.transports.push(*way);
            }
            single => self.texts.push((single, value.to_owned())),
        }
        Ok(())
    }

    /// Says that an attribute is not known.
    pub fn put_unknown(&mut self, name: &str) -> Result<(), String> {
        self.unknown.push(attribute(name)?);
        Ok(())
    }

    /// Says that it is not known whether it travelled in that way.
    pub fn put_unsure(&mut self, way: Transport) {
        self.unsure.push(way);
    }

    /// The facts of a recorded event; events do not tell everything, and what they leave out is unknown.
    pub fn of_event(event: &Map<String, Value>) -> Self {
        let mut given = Self::default();
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        for (name, attribute) in RECORDED {
            given.texts.extend(text(name).map(|value| (attribute, value.to_owned())));
        }
        // As live calls are judged: a user without a name is its id.
        if !given.has(Attribute::User) {
            let id = text("user.id").map(str::to_owned);
            given.texts.extend(id.map(|id| (Attribute::User, id)));
        }
        // So is a model that was not asked for by name the one that answered.
        if !given.has(Attribute::Model) {
            let model = text("gen_ai.response.model").map(str::to_owned);
            given.texts.extend(model.map(|model| (Attribute::Model, model)));
        }
        given.unknown.push(Attribute::Parent);
        if text("process.executable.path").is_none() {
            given.unknown.extend(OF_PROCESS);
        } else if text("container.id").is_some() {
            given.put_container(event);
        }
        let is_call = text("event.name") == Some("tollgate.call");
        if !is_call || text("tollgate.coverage") != Some("complete") {
            let content = Attribute::all().filter(|one| one.is_content());
            let missing = content.filter(|one| !given.has(*one));
            given.unknown.extend(missing.collect::<Vec<_>>());
        }
        if is_call {
            given.transports.push(Transport::Plaintext);
        } else {
            given.put_connection(event);
        }
        if text("gen_ai.provider.name") == Some("unlisted") {
            given.transports.push(Transport::Unlisted);
        }
        let hidden = event.get("tollgate.tls.name_hidden").and_then(Value::as_bool);
        if hidden.is_some() {
            given.unsure.retain(|way| *way != Transport::Ech);
        }
        match hidden {
            Some(true) => given.transports.push(Transport::Ech),
            None if is_call => given.unsure.push(Transport::Ech),
            _ => {}
        }
        given
    }

    /// What an event tells of a connection without a call: where it led, and how it travelled.
    fn put_connection(&mut self, event: &Map<String, Value>) {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        // Where no name was seen, events have the address in its place; a live connection is then judged without a host.
        if text("server.address").is_some_and(|name| text("network.peer.address") == Some(name)) {
            self.texts.retain(|(attribute, _)| *attribute != Attribute::Host);
        }
        let is_named = self.has(Attribute::Provider);
        let host = text("server.address").unwrap_or_default();
        let row = ROWS.as_ref().and_then(|rows| rows.find(host));
        // A host that carries other traffic too proves nothing by its name: live, only a request leads to AI there.
        if row.is_some_and(|row| !row.paths.is_empty()) {
            let of_row = [Attribute::Provider, Attribute::Category];
            self.texts.retain(|(attribute, _)| !of_row.contains(attribute));
        }
        let whereto = [Attribute::Provider, Attribute::Category, Attribute::Host];
        let missing: Vec<_> = whereto.into_iter().filter(|one| !self.has(*one)).collect();
        self.unknown.extend(missing);
        if !self.has(Attribute::Provider) {
            self.unsure.push(Transport::Unlisted);
        }
        match text("tollgate.coverage") {
            Some("complete") => self.transports.push(Transport::Plaintext),
            Some("blind") => self.transports.push(Transport::Opaque),
            _ => self.unsure.push(Transport::Opaque),
        }
        if [text("tollgate.coverage.reason"), text("tollgate.layer")].contains(&Some("quic")) {
            self.transports.push(Transport::Quic);
        }
        // Beside the name of a provider, an encrypted hello is there for show.
        match event.get("tollgate.tls.encrypted_hello").and_then(Value::as_bool) {
            Some(true) if !is_named => self.transports.push(Transport::Ech),
            Some(_) => {}
            None => self.unsure.push(Transport::Ech),
        }
    }

    fn has(&self, attribute: Attribute) -> bool {
        self.texts.iter().any(|(known, _)| *known == attribute)
    }

    /// What an event tells of a container: with its image or its pod it tells all but some labels, else nothing.
    fn put_container(&mut self, event: &Map<String, Value>) {
        let labels = event.iter().filter_map(|(name, value)| {
            let key = LABELS.iter().find_map(|prefix| name.strip_prefix(prefix))?;
            Some((key.to_owned(), value.as_str()?.to_owned()))
        });
        self.labels.extend(labels);
        let known = |one: &Attribute| self.texts.iter().any(|(known, _)| known == one);
        let said = [Attribute::Image, Attribute::Namespace, Attribute::Pod, Attribute::Container];
        let is_told = known(&Attribute::Image) || known(&Attribute::Pod);
        let missing: Vec<_> = said.into_iter().filter(|one| !is_told && !known(one)).collect();
        self.unknown.extend(missing);
        if self.labels.is_empty() || self.labels.len() >= LABELS_SHOWN_MAX {
            self.unknown.push(Attribute::Labels);
        }
    }

    /// The facts.
    pub fn facts(&self) -> Facts<'_> {
        let mut facts = Facts::default();
        for (attribute, value) in &self.texts {
            facts.set(*attribute, Fact::Known(value));
        }
        if !self.parents.is_empty() {
            facts.set_parents(Fact::Known(self.parents.iter().map(String::as_str).collect()));
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            facts.set_labels(Fact::Known(labels.collect()));
        }
        for way in &self.transports {
            facts.set_transport(*way, Fact::Known(true));
        }
        facts.rest_absent();
        for attribute in &self.unknown {
            facts.forget(*attribute);
        }
        for way in &self.unsure {
            facts.set_transport(*way, Fact::Unknown);
        }
        facts
    }
}

fn attribute(name: &str) -> Result<Attribute, String> {
    let names = Attribute::all().map(Attribute::as_str);
    Attribute::from_name(name)
        .ok_or_else(|| format!("unknown fact `{name}`; {}", advice(name, names)))
}
