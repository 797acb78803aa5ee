//! Names of attributes, as policies and tests write them, come in; what a policy may ask about goes out.

/// What a policy may ask about a call. Secrets found and budgets will stand here too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// Path of the executable.
    Executable,
    /// Path of the executable of a parent, a grandparent, ….
    Parent,
    /// Effective user.
    User,
    /// User who logged in.
    LoginUser,
    /// systemd unit.
    Unit,
    /// cgroup path.
    Cgroup,
    /// Container id.
    ContainerId,
    /// Container image.
    Image,
    /// Container runtime.
    Runtime,
    /// Kubernetes namespace.
    Namespace,
    /// Name of the pod.
    Pod,
    /// Name of the container within its pod.
    Container,
    /// Labels of the pod.
    Labels,
    /// `gen_ai.provider.name`.
    Provider,
    /// Kind of service.
    Category,
    /// Host name.
    Host,
    /// `gen_ai.operation.name`.
    Operation,
    /// Model asked for.
    Model,
    /// Fingerprint of the key.
    Credential,
    /// What kind of key it is.
    CredentialKind,
    /// How the call travels.
    Transport,
}

/// Attributes with the names that documents carry, in the order of `Attribute`.
const NAMES: [(Attribute, &str); 21] = [
    (Attribute::Executable, "executable"),
    (Attribute::Parent, "parent"),
    (Attribute::User, "user"),
    (Attribute::LoginUser, "loginUser"),
    (Attribute::Unit, "unit"),
    (Attribute::Cgroup, "cgroup"),
    (Attribute::ContainerId, "containerId"),
    (Attribute::Image, "image"),
    (Attribute::Runtime, "runtime"),
    (Attribute::Namespace, "namespace"),
    (Attribute::Pod, "pod"),
    (Attribute::Container, "container"),
    (Attribute::Labels, "labels"),
    (Attribute::Provider, "provider"),
    (Attribute::Category, "category"),
    (Attribute::Host, "host"),
    (Attribute::Operation, "operation"),
    (Attribute::Model, "model"),
    (Attribute::Credential, "credential"),
    (Attribute::CredentialKind, "credentialKind"),
    (Attribute::Transport, "transport"),
];

impl Attribute {
    /// How many there are.
    pub const COUNT: usize = NAMES.len();

    /// All of them, in the order of their declaration.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(attribute, _)| *attribute)
    }

    /// The name that documents carry.
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, name)| name)
    }

    /// The attribute of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(attribute, _)| *attribute)
    }

    /// Whether it is known from the plaintext alone.
    pub fn is_content(self) -> bool {
        matches!(self, Self::Operation | Self::Model | Self::Credential | Self::CredentialKind)
    }

    /// Whether it says who makes the call, not what the call is.
    pub fn is_subject(self) -> bool {
        self as usize <= Self::Labels as usize
    }

    /// Whether its values may hold brackets and braces: file names do, what containers are labelled with, and addresses.
    pub(super) fn has_brackets(self) -> bool {
        matches!(self, Self::Executable | Self::Parent | Self::Cgroup | Self::Labels | Self::Host)
    }

    /// The character that parts its values into the segments which a `*` does not leave.
    pub(super) fn separator(self) -> u8 {
        if self == Self::Host { b'.' } else { b'/' }
    }

    /// Its bit in a set of attributes.
    fn bit(self) -> u32 {
        1_u32.checked_shl(self as u32).unwrap_or(0)
    }
}

/// A set of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    /// The set with one more attribute.
    #[must_use]
    pub fn with(self, attribute: Attribute) -> Self {
        Self(self.0 | attribute.bit())
    }

    /// The attributes of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the attribute is in the set.
    pub fn contains(self, attribute: Attribute) -> bool {
        self.0 & attribute.bit() != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The attributes in their order.
    pub fn iter(self) -> impl Iterator<Item = Attribute> {
        Attribute::all().filter(move |attribute| self.contains(*attribute))
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<T: IntoIterator<Item = Attribute>>(all: T) -> Self {
        all.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_stands_at_its_place_under_its_name() {
        for (at, attribute) in Attribute::all().enumerate() {
            assert_eq!(attribute as usize, at);
            assert_eq!(Attribute::from_name(attribute.as_str()), Some(attribute));
        }
    }

    #[test]
    fn set_holds_what_was_put_into_it() {
        let set: Attributes = [Attribute::Host, Attribute::Transport].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Attribute::Host, Attribute::Transport]);
        assert!(!set.contains(Attribute::Executable) && Attributes::default().is_empty());
    }
}
