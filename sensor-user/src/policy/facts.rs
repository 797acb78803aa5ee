//! What is known of a call, attribute by attribute, comes in; the values that conditions are held against go out.

use crate::credential::Identity;
use crate::policy::Attribute;
use crate::provider::Call;
use crate::provider::Operation;
use crate::provider::catalogue::Category;
use crate::workload::About;
use crate::workload::Workload;

/// One attribute of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fact<T> {
    /// This is its value.
    Known(T),
    /// There is none: a process in no pod has no namespace.
    Absent,
    /// There may be one, but it is not known, or not yet.
    #[default]
    Unknown,
}

impl<T> Fact<T> {
    /// A value that is there or not, and known in either case.
    pub fn of(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Known)
    }

    /// The value, where it is known.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// Whether it is not known.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// How a call travels: each may hold or not, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Its plaintext is seen.
    Plaintext,
    /// Its plaintext cannot be seen.
    Opaque,
    /// Over QUIC.
    Quic,
    /// The name in its ClientHello is encrypted.
    Ech,
    /// To a host that is in no catalogue.
    Unlisted,
}

/// Ways to travel with the words that documents carry, in the order of `Transport`.
pub(super) const TRANSPORTS: [(Transport, &str); 5] = [
    (Transport::Plaintext, "plaintext"),
    (Transport::Opaque, "opaque"),
    (Transport::Quic, "quic"),
    (Transport::Ech, "ech"),
    (Transport::Unlisted, "unlisted"),
];

/// What is known of one call. What is not set is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts<'a> {
    texts: [Fact<&'a str>; Attribute::COUNT],
    parents: Fact<Vec<&'a str>>,
    labels: Fact<Vec<(&'a str, &'a str)>>,
    /// Whether there may be more labels than those.
    labels_cut: bool,
    /// Whether the subject was looked up: then `unknown:` says how the rest of it is read.
    looked_up: bool,
    /// Plaintext and opaque are one fact.
    opaque: Fact<bool>,
    quic: Fact<bool>,
    ech: Fact<bool>,
    unlisted: Fact<bool>,
}

impl<'a> Facts<'a> {
    /// Sets the attributes that have one text each; others are left alone.
    pub fn set(&mut self, attribute: Attribute, fact: Fact<&'a str>) {
        let fact = match (attribute, fact) {
            (Attribute::Host, Fact::Known(host)) => Fact::Known(bare_host(host)),
            (_, fact) => fact,
        };
        if let Some(place) = self.texts.get_mut(attribute as usize) {
            *place = fact;
        }
    }

    /// Sets the executables of the parents, the nearest first.
    pub fn set_parents(&mut self, parents: Fact<Vec<&'a str>>) {
        self.parents = parents;
    }

    /// Sets the labels of the pod.
    pub fn set_labels(&mut self, labels: Fact<Vec<(&'a str, &'a str)>>) {
        self.labels = labels;
    }

    /// Sets one way to travel.
    pub fn set_transport(&mut self, transport: Transport, fact: Fact<bool>) {
        match (transport, fact) {
            (Transport::Plaintext, Fact::Known(seen)) => self.opaque = Fact::Known(!seen),
            (Transport::Plaintext | Transport::Opaque, fact) => self.opaque = fact,
            (Transport::Quic, fact) => self.quic = fact,
            (Transport::Ech, fact) => self.ech = fact,
            (Transport::Unlisted, fact) => self.unlisted = fact,
        }
    }

    /// Says that every attribute not set so far is absent.
    pub fn rest_absent(&mut self) {
        for fact in self.texts.iter_mut().filter(|fact| fact.is_unknown()) {
            *fact = Fact::Absent;
        }
        if self.parents.is_unknown() {
            self.parents = Fact::Absent;
        }
        if self.labels.is_unknown() {
            self.labels = Fact::Absent;
        }
        for fact in [&mut self.opaque, &mut self.quic, &mut self.ech, &mut self.unlisted] {
            if fact.is_unknown() {
                *fact = Fact::Known(false);
            }
        }
    }

    /// Forgets one attribute.
    pub fn forget(&mut self, attribute: Attribute) {
        match attribute {
            Attribute::Parent => self.parents = Fact::Unknown,
            Attribute::Labels => self.labels = Fact::Unknown,
            Attribute::Transport => {
                (self.opaque, self.quic) = (Fact::Unknown, Fact::Unknown);
                (self.ech, self.unlisted) = (Fact::Unknown, Fact::Unknown);
            }
            single => self.set(single, Fact::Unknown),
        }
    }

    /// The one text of an attribute.
    pub fn text(&self, attribute: Attribute) -> Fact<&'a str> {
        self.texts.get(attribute as usize).copied().unwrap_or_default()
    }

    /// Executables of the parents.
    pub fn parents(&self) -> Fact<&[&'a str]> {
        match &self.parents {
            Fact::Known(parents) => Fact::Known(parents),
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Unknown,
        }
    }

    /// The value of one label of the pod.
    pub fn label(&self, key: &str) -> Fact<&'a str> {
        match &self.labels {
            Fact::Known(labels) => match labels.iter().find(|(name, _)| *name == key) {
                Some((_, value)) => Fact::Known(*value),
                None if self.labels_cut => Fact::Unknown,
                None => Fact::Absent,
            },
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Unknown,
        }
    }

    /// Whether the call travels that way.
    pub fn transport(&self, transport: Transport) -> Fact<bool> {
        match (transport, self.opaque) {
            (Transport::Plaintext, Fact::Known(opaque)) => Fact::Known(!opaque),
            (Transport::Plaintext | Transport::Opaque, opaque) => opaque,
            (Transport::Quic, _) => self.quic,
            (Transport::Ech, _) => self.ech,
            (Transport::Unlisted, _) => self.unlisted,
        }
    }

    /// Sets who makes the call. Of a process that could not be found out, nothing is known.
    pub fn set_workload(&mut self, workload: &'a Workload) {
        self.set(Attribute::Executable, Fact::Known(&workload.executable));
        let parents = workload.ancestors.iter().map(|parent| parent.executable.as_str());
        self.set_parents(Fact::Known(parents.collect()));
        self.set(Attribute::User, Fact::Known(workload.user_name()));
        self.set(Attribute::LoginUser, Fact::of(workload.login_user.as_deref()));
        self.set(Attribute::Unit, Fact::of(workload.systemd_unit.as_deref()));
        self.set(Attribute::Cgroup, Fact::Known(&workload.cgroup));
        let container = workload.container.as_ref();
        self.set(Attribute::ContainerId, Fact::of(container.map(|one| one.id.as_str())));
        self.looked_up = true;
        let Some(container) = container else {
            // Outside of a container there is no image and no pod.
            let of_container = [Attribute::Runtime, Attribute::Image, Attribute::Container];
            for attribute in of_container.into_iter().chain([Attribute::Namespace, Attribute::Pod])
            {
                self.set(attribute, Fact::Absent);
            }
            self.set_labels(Fact::Absent);
            return;
        };
        let runtime = container.runtime();
        self.set(Attribute::Runtime, runtime.map_or(Fact::Unknown, Fact::Known));
        // Inside of one, its runtime has to say which; until it does, nothing is known.
        if let Some(about) = container.about() {
            self.set_container(about);
        }
    }

    /// Sets what a runtime says of a container.
    fn set_container(&mut self, about: &'a About) {
        // What was too long to be kept is not known.
        let of = |value: Option<&'a str>| match value {
            None if !about.is_whole => Fact::Unknown,
            value => Fact::of(value),
        };
        let pod = about.pod.as_deref();
        self.set(Attribute::Image, of(about.image.as_deref()));
        self.set(Attribute::Container, of(about.name.as_deref()));
        self.set(Attribute::Namespace, of(pod.map(|pod| pod.namespace.as_str())));
        self.set(Attribute::Pod, of(pod.map(|pod| pod.name.as_str())));
        if let Some(labels) = &about.labels {
            let pairs = labels.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            self.set_labels(Fact::Known(pairs.collect()));
            self.labels_cut = !labels.is_whole;
        }
    }

    /// Whether somebody has looked up who it is: what is still unknown of the subject then is not found out before a call.
    pub(super) fn is_looked_up(&self) -> bool {
        self.looked_up
    }

    /// Sets what a request whose plaintext was seen says of itself, and the key it carried.
    pub fn set_call(&mut self, call: &'a Call, key: Option<&'a Identity>) {
        self.set(Attribute::Provider, Fact::Known(&call.provider));
        self.set(Attribute::Category, Fact::of(call.category.map(Category::as_str)));
        if !call.server_address.is_empty() {
            self.set(Attribute::Host, Fact::Known(&call.server_address));
        }
        self.set(Attribute::Operation, Fact::Known(Operation::as_str(call.operation)));
        // Part of the request was not seen: a model or key that was not found may still be there.
        let seen = |value: Option<&'a str>, whole: bool| match value {
            None if !whole => Fact::Unknown,
            value => Fact::of(value),
        };
        let model = call.request_model.as_deref().or(call.response_model.as_deref());
        self.set(Attribute::Model, seen(model, call.complete));
        let whole = call.complete && call.head_complete;
        self.set(Attribute::Credential, seen(key.map(|key| key.fingerprint.as_str()), whole));
        self.set(Attribute::CredentialKind, seen(key.map(|key| key.kind), whole));
        self.set_transport(Transport::Opaque, Fact::Known(false));
        self.set_transport(Transport::Quic, Fact::Known(false));
        self.set_transport(Transport::Unlisted, Fact::Known(!call.listed));
    }
}

/// A host name without its port and its last dot.
pub(super) fn bare_host(host: &str) -> &str {
    let name = match host.split_once(':') {
        // More than one colon: an IPv6 address.
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_bare_and_plaintext_is_the_opposite_of_opaque() {
        const CASES: &[(&str, &str)] = &[
            ("api.openai.com:443", "api.openai.com"),
            ("api.openai.com.", "api.openai.com"),
            ("2001:db8::1", "2001:db8::1"),
            ("", ""),
        ];
        let mut facts = Facts::default();
        for (given, bare) in CASES {
            facts.set(Attribute::Host, Fact::Known(given));
            assert_eq!(facts.text(Attribute::Host), Fact::Known(*bare));
        }
        facts.set_transport(Transport::Plaintext, Fact::Known(true));
        assert_eq!(facts.transport(Transport::Opaque), Fact::Known(false));
        assert_eq!(facts.transport(Transport::Quic), Fact::Unknown);
        facts.rest_absent();
        assert_eq!(facts.label("app"), Fact::Absent);
        assert_eq!(facts.text(Attribute::Host), Fact::Known(""));
        facts.forget(Attribute::Labels);
        assert_eq!(facts.label("app"), Fact::Unknown);
    }
}
