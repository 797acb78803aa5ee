//! Questions to containerd itself go out; its events, and containers that Kubernetes knows nothing of, come in.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use prost::Message;

use crate::workload::About;
use crate::workload::cgroup::tree;

use super::Error;
use super::LIST_BYTES_MAX;
use super::ONE_BYTES_MAX;
use super::grpc::Client;

/// The namespace of the containers that are made through the CRI.
pub(super) const OF_PODS: &str = "k8s.io";
/// The namespace of Docker's: Docker itself says more about them.
const OF_DOCKER: &str = "moby";
/// Namespaces that are looked into.
const NAMESPACES_MAX: usize = 64;
/// Events that say which containers there are.
const TOPICS: [&str; 4] = ["/tasks/create", "/tasks/exit", "/tasks/delete", "/containers/delete"];
/// Label under which nerdctl keeps the name of a container.
const NERDCTL_NAME: &str = "nerdctl/name";

#[derive(Clone, PartialEq, Message)]
struct Subscription {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// An event with its place.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<Any>,
}

/// What the events of `TOPICS` have in common: the container stands first.
#[derive(Clone, PartialEq, Message)]
struct OfContainer {
    #[prost(string, tag = "1")]
    container: String,
}

#[derive(Clone, PartialEq, Message)]
struct TaskCreate {
    #[prost(uint32, tag = "6")]
    pid: u32,
}

#[derive(Clone, PartialEq, Message)]
struct TaskExit {
    #[prost(string, tag = "2")]
    id: String,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A container is about to run, with this process.
    Begins { namespace: String, id: String, pid: u32 },
    /// A container has ended.
    Ended { id: String },
}

impl Envelope {
    /// What it says, if it is about a container.
    pub(super) fn said(&self) -> Option<Said> {
        let value = &self.event.as_ref()?.value;
        let OfContainer { container: id } = OfContainer::decode(value.clone()).ok()?;
        match self.topic.as_str() {
            "/tasks/create" => {
                let TaskCreate { pid } = TaskCreate::decode(value.clone()).ok()?;
                Some(Said::Begins { namespace: self.namespace.clone(), id, pid })
            }
            "/tasks/exit" => {
                // Other processes of a container have ids of their own.
                let is_first = TaskExit::decode(value.clone()).is_ok_and(|exit| exit.id == id);
                is_first.then_some(Said::Ended { id })
            }
            "/tasks/delete" | "/containers/delete" => Some(Said::Ended { id }),
            _ => None,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct ById {
    #[prost(string, tag = "1")]
    id: String,
}

/// Answers whose first text is what is wanted of them: a namespace, a version.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Namespaces {
    #[prost(message, repeated, tag = "1")]
    namespaces: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct OneAnswer {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct ListAnswer {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    entries: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Task {
    #[prost(string, tag = "2")]
    id: String,
    #[prost(uint32, tag = "3")]
    pid: u32,
}

/// containerd's own interface.
#[derive(Clone, Debug)]
pub(super) struct Containerd {
    client: Client,
    /// Namespaces with containers that the CRI does not show.
    namespaces: Vec<String>,
}

impl Containerd {
    pub(super) fn new(client: Client) -> Self {
        Self { client, namespaces: Vec::new() }
    }

    /// Its name and version.
    pub(super) async fn who(&self) -> Result<String, Error> {
        let path = "/containerd.services.version.v1.Version/Version";
        let Named { name } = self.client.ask(path, Empty {}, ("", ONE_BYTES_MAX)).await?;
        Ok(format!("containerd {name}"))
    }

    /// Listens for events; an error that says `unimplemented` comes from another runtime.
    pub(super) async fn events(&self) -> Result<tonic::Streaming<Envelope>, Error> {
        let filters = TOPICS.iter().map(|topic| format!("topic==\"{topic}\"")).collect();
        let path = "/containerd.services.events.v1.Events/Subscribe";
        self.client.listen(path, Subscription { filters }, ONE_BYTES_MAX).await
    }

    /// Hands every container outside of pods to `found`, by its id, with the id of its cgroup where it runs.
    pub(super) async fn list_all(
        &mut self,
        found: &mut impl FnMut(String, (About, Option<u64>)),
    ) -> Result<(), Error> {
        let path = "/containerd.services.namespaces.v1.Namespaces/List";
        let all: Namespaces = self.client.ask(path, Empty {}, ("", ONE_BYTES_MAX)).await?;
        let names = all.namespaces.into_iter().map(|namespace| namespace.name);
        let others = names.filter(|name| name != OF_PODS && name != OF_DOCKER);
        self.namespaces = others.take(NAMESPACES_MAX).collect();
        for namespace in &self.namespaces {
            let path = "/containerd.services.containers.v1.Containers/List";
            let place = (namespace.as_str(), LIST_BYTES_MAX);
            let containers: ListAnswer = self.client.ask(path, Empty {}, place).await?;
            let path = "/containerd.services.tasks.v1.Tasks/List";
            let tasks: ListAnswer = self.client.ask(path, Empty {}, place).await?;
            let mut cgroups = BTreeMap::new();
            for task in tasks.entries {
                let Task { id, pid } = decoded(task)?;
                cgroups.extend(cgroup_of(pid).map(|cgroup| (id, cgroup)));
            }
            for container in containers.entries {
                let container: Container = decoded(container)?;
                let cgroup = cgroups.get(&container.id).copied();
                let about = about(&container);
                found(container.id, (about, cgroup));
            }
        }
        Ok(())
    }

    /// What is said of one container outside of pods, in a namespace that is known or in any.
    pub(super) async fn find(
        &self,
        namespace: Option<&str>,
        id: &str,
    ) -> Result<Option<About>, Error> {
        let path = "/containerd.services.containers.v1.Containers/Get";
        let known = self.namespaces.iter().map(String::as_str).filter(|_| namespace.is_none());
        let is_asked = |name: &&str| *name != OF_PODS && *name != OF_DOCKER;
        for namespace in namespace.into_iter().chain(known).filter(is_asked) {
            let question = ById { id: id.to_owned() };
            let answer = self.client.ask(path, question, (namespace, ONE_BYTES_MAX)).await;
            match answer {
                Ok(OneAnswer { container: Some(container) }) => return Ok(Some(about(&container))),
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// The container that an event names.
pub(super) fn named(bytes: &[u8]) -> Option<String> {
    match Envelope::decode(bytes).ok()?.said()? {
        Said::Begins { id, .. } | Said::Ended { id } => Some(id),
    }
}

/// What a list says.
pub(super) fn said(bytes: &[u8]) -> Vec<(String, About)> {
    let list = ListAnswer::decode(bytes).unwrap_or_default();
    let all = list.entries.into_iter().filter_map(|entry| Container::decode(entry).ok());
    all.map(|one| (one.id.clone(), about(&one))).collect()
}

fn about(container: &Container) -> About {
    let labels = &container.labels;
    About::of("containerd")
        .named(labels.get(NERDCTL_NAME).unwrap_or(&container.id))
        .of_image(&container.image)
        .labelled(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Id of the cgroup of a process, which is in no cgroup of its own before it is in its container's.
pub(super) fn cgroup_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    tree::id_of(tree::path_of(&text)?)
}

fn decoded<T: Message + Default>(bytes: Bytes) -> Result<T, Error> {
    T::decode(bytes).map_err(|error| Error::Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as it travels: fields by number and text or number.
    fn envelope(topic: &str, fields: &[(u8, &str)], pid: Option<u8>) -> Envelope {
        let mut value = Vec::new();
        for (number, text) in fields {
            value.extend([number << 3 | 2, u8::try_from(text.len()).unwrap()]);
            value.extend(text.bytes());
        }
        value.extend(pid.into_iter().flat_map(|pid| [6 << 3, pid]));
        let event = Some(Any { value: value.into() });
        Envelope { namespace: "k8s.io".to_owned(), topic: topic.to_owned(), event }
    }

    #[test]
    fn events_say_which_container_begins_and_which_has_ended() {
        let begins = Said::Begins { namespace: "k8s.io".to_owned(), id: "a".to_owned(), pid: 42 };
        let ended = Said::Ended { id: "a".to_owned() };
        let cases = [
            (envelope("/tasks/create", &[(1, "a"), (2, "/bundle")], Some(42)), Some(begins)),
            (envelope("/tasks/exit", &[(1, "a"), (2, "a")], None), Some(ended.clone())),
            (envelope("/tasks/exit", &[(1, "a"), (2, "exec-1")], None), None),
            (envelope("/tasks/delete", &[(1, "a")], None), Some(ended.clone())),
            (envelope("/containers/delete", &[(1, "a")], None), Some(ended)),
            (envelope("/images/create", &[(1, "a")], None), None),
            (Envelope::default(), None),
        ];
        for (envelope, said) in cases {
            assert_eq!(envelope.said(), said, "{envelope:?}");
        }
        let mut broken = envelope("/tasks/create", &[(1, "a")], None);
        broken.event = Some(Any { value: Bytes::from_static(&[0x0a, 0xff, 0xff]) });
        assert_eq!(broken.said(), None);
    }
}
