//! Questions of the Container Runtime Interface go out; containers and pods, as the index keeps them, come in.
//!
//! The messages are those of Kubernetes's `cri-api`, with the fields that are read here; others are passed over.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::workload::About;
use crate::workload::Labels;
use crate::workload::Pod;

use super::Error;
use super::LIST_BYTES_MAX;
use super::ONE_BYTES_MAX;
use super::grpc::Client;

/// Versions of the interface with the same messages, the newer first: containerd before 1.6 and CRI-O before 1.20 know
/// the older alone.
const VERSIONS: [&str; 2] = ["runtime.v1", "runtime.v1alpha2"];
/// Names of images remembered.
const IMAGES_MAX: usize = 512;
/// Beginning of an image that is named by its content.
const BY_CONTENT: &str = "sha256:";

#[derive(Clone, PartialEq, Message)]
struct VersionQuestion {}

#[derive(Clone, PartialEq, Message)]
struct VersionAnswer {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
}

/// Filters of containers and of pods have the id at the same place; an empty list question has none.
#[derive(Clone, PartialEq, Message)]
struct Filter {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListQuestion {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
}

/// A list whose entries are decoded one by one, so that no more than one is held beside the answer itself.
#[derive(Clone, PartialEq, Message)]
struct ListAnswer {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    entries: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
    /// As the pod has it; what the kubelet puts above may be a hash.
    #[prost(string, tag = "18")]
    asked: String,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    sandbox: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Name>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxName {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxName>,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageQuestion {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatus {
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageAnswer {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageStatus>,
}

/// A pod with its labels.
type Known = (Arc<Pod>, Arc<Labels>);

/// A runtime that speaks the interface.
#[derive(Debug)]
pub(super) struct Cri {
    client: Client,
    service: &'static str,
    runtime: &'static str,
    /// Pods by the id of their sandbox; `None` where it says nothing usable. Made anew with each list.
    pods: HashMap<String, Option<Known>>,
    pods_max: usize,
    /// Names of images by their hash.
    images: HashMap<String, String>,
}

impl Cri {
    /// Asks who answers, and gives its name and version; keeps at most `pods_max` pods.
    pub(super) async fn connect(client: Client, pods_max: usize) -> Result<(Self, String), Error> {
        let mut last = None;
        for service in VERSIONS {
            let path = format!("/{service}.RuntimeService/Version");
            match client.ask(&path, VersionQuestion {}, ("", ONE_BYTES_MAX)).await {
                Ok(VersionAnswer { name, version }) => {
                    let cri = Self {
                        client,
                        service,
                        runtime: runtime_called(&name),
                        pods: HashMap::new(),
                        pods_max,
                        images: HashMap::new(),
                    };
                    return Ok((cri, format!("{name} {version}")));
                }
                Err(error) if error.is_unimplemented() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Broken("no version".to_owned())))
    }

    async fn list(&self, what: &str, id: Option<&str>) -> Result<Vec<Bytes>, Error> {
        let path = format!("/{}.RuntimeService/{what}", self.service);
        let question = ListQuestion { filter: id.map(|id| Filter { id: id.to_owned() }) };
        let bytes_max = if id.is_some() { ONE_BYTES_MAX } else { LIST_BYTES_MAX };
        let answer: ListAnswer = self.client.ask(&path, question, ("", bytes_max)).await?;
        Ok(answer.entries)
    }

    /// Hands every pod and container to `found`, by its id.
    pub(super) async fn list_all(
        &mut self,
        mut found: impl FnMut(String, About),
    ) -> Result<(), Error> {
        let sandboxes = self.list("ListPodSandbox", None).await?;
        self.pods.clear();
        for bytes in sandboxes {
            let sandbox: Sandbox = decoded(bytes)?;
            let pod = pod_of(&sandbox);
            found(sandbox.id.clone(), About::of(self.runtime).in_pod(pod.clone()));
            self.keep(sandbox.id, pod);
        }
        for bytes in self.list("ListContainers", None).await? {
            let container: Container = decoded(bytes)?;
            let pod = self.pods.get(&container.sandbox).cloned().flatten();
            let about = self.about(&container, pod).await;
            found(container.id, about);
        }
        Ok(())
    }

    /// What is said of one container or sandbox; none where it is not known.
    pub(super) async fn find(&mut self, id: &str) -> Result<Option<About>, Error> {
        for bytes in self.list("ListContainers", Some(id)).await? {
            let container: Container = decoded(bytes)?;
            if container.id == id {
                let pod = self.pod(&container.sandbox).await?;
                return Ok(Some(self.about(&container, pod).await));
            }
        }
        let pod = self.pod(id).await?;
        Ok(pod.map(|pod| About::of(self.runtime).in_pod(Some(pod))))
    }

    async fn pod(&mut self, sandbox: &str) -> Result<Option<Known>, Error> {
        if let Some(known) = self.pods.get(sandbox) {
            return Ok(known.clone());
        }
        for bytes in self.list("ListPodSandbox", Some(sandbox)).await? {
            let found: Sandbox = decoded(bytes)?;
            if found.id == sandbox {
                let pod = pod_of(&found);
                self.keep(found.id, pod.clone());
                return Ok(pod);
            }
        }
        Ok(None)
    }

    /// Forgets a sandbox that has ended.
    pub(super) fn forget(&mut self, sandbox: &str) {
        self.pods.remove(sandbox);
    }

    fn keep(&mut self, sandbox: String, pod: Option<Known>) {
        if self.pods.len() < self.pods_max {
            self.pods.insert(sandbox, pod);
        }
    }

    async fn about(&mut self, container: &Container, pod: Option<Known>) -> About {
        let name = container.metadata.as_ref().map_or("", |metadata| &metadata.name);
        let image = match &container.image {
            Some(image) if !image.asked.is_empty() => image.asked.clone(),
            Some(image) if image.image.starts_with(BY_CONTENT) => {
                self.image_name(&image.image).await
            }
            Some(image) => image.image.clone(),
            None => String::new(),
        };
        About::of(self.runtime).named(name).of_image(&image).in_pod(pod)
    }

    /// Name of an image that is given by its hash; the hash where it has none.
    async fn image_name(&mut self, hash: &str) -> String {
        if let Some(name) = self.images.get(hash) {
            return name.clone();
        }
        let path = format!("/{}.ImageService/ImageStatus", self.service);
        let image = Image { image: hash.to_owned(), asked: String::new() };
        let question = ImageQuestion { image: Some(image) };
        let answer: Result<ImageAnswer, _> =
            self.client.ask(&path, question, ("", ONE_BYTES_MAX)).await;
        // An image without a name is known by its hash; so is one that nobody tells of just now.
        let Ok(answer) = answer else { return hash.to_owned() };
        let tags = answer.image.map(|image| image.tags).unwrap_or_default();
        let name = tags.into_iter().next().unwrap_or_else(|| hash.to_owned());
        if self.images.len() >= IMAGES_MAX {
            self.images.clear();
        }
        self.images.insert(hash.to_owned(), name.clone());
        name
    }
}

/// What a list of pods says.
pub(super) fn said(bytes: &[u8]) -> Vec<(String, About)> {
    let list = ListAnswer::decode(bytes).unwrap_or_default();
    let sandboxes = list.entries.into_iter().filter_map(|entry| Sandbox::decode(entry).ok());
    let about = |one: Sandbox| {
        let about = About::of("containerd").in_pod(pod_of(&one));
        (one.id, about)
    };
    sandboxes.map(about).collect()
}

/// The runtime that calls itself so.
fn runtime_called(name: &str) -> &'static str {
    if name.starts_with("cri-o") { "cri-o" } else { "containerd" }
}

fn pod_of(sandbox: &Sandbox) -> Option<Known> {
    let SandboxName { name, uid, namespace } = sandbox.metadata.as_ref()?;
    let pod = Pod::of(namespace, name, uid)?;
    let labels =
        Labels::of(sandbox.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    Some((Arc::new(pod), Arc::new(labels)))
}

fn decoded<T: Message + Default>(bytes: Bytes) -> Result<T, Error> {
    T::decode(bytes).map_err(|error| Error::Broken(error.to_string()))
}
