//! Pods and containers as Kubernetes would want them come in; a runtime makes, shows and removes them by its CRI socket.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::harness::wait_until;

/// Time in which a runtime makes a pod on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);
/// `NamespaceMode.NODE` of the CRI: the namespace of the runtime itself.
const OF_NODE: i32 = 2;
/// `ContainerState.CONTAINER_EXITED` of the CRI.
const EXITED: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct Namespaces {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxLinux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<SandboxSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<SandboxLinux>,
}

#[derive(Clone, PartialEq, Message)]
struct RunSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

/// Questions and answers with one id at the first place.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    inside: String,
    #[prost(string, tag = "2")]
    outside: String,
    #[prost(bool, tag = "3")]
    readonly: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerLinux {
    #[prost(message, optional, tag = "2")]
    security: Option<ContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Named>,
    #[prost(message, optional, tag = "2")]
    image: Option<Named>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
    #[prost(message, optional, tag = "15")]
    linux: Option<ContainerLinux>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int32, tag = "7")]
    exit_code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// A pod to be made.
#[derive(Clone, Debug, Default)]
pub struct PodSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub uid: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Cgroup in which its containers get theirs.
    pub cgroup: String,
}

/// A container to be made.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Its name in its pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it runs.
    pub command: Vec<String>,
    /// Files of the machine, with their places inside.
    pub files: Vec<(String, String)>,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Id of its sandbox.
    pub id: String,
    config: SandboxConfig,
}

/// A client of a runtime; a clone is another way to the same.
#[derive(Debug)]
pub struct Cri {
    channel: Channel,
    runtime: Runtime,
}

impl Cri {
    /// Connects to a socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.connect())?;
        Ok(Self { channel, runtime })
    }

    fn ask<Q, A>(&self, what: &str, question: Q) -> Result<A>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{what}");
        let at = PathAndQuery::try_from(path)?;
        let mut grpc = Grpc::new(self.channel.clone());
        let asked = async {
            grpc.ready().await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(Request::new(question), at, codec).await;
            anyhow::Ok(answer.with_context(|| format!("asking for {what}"))?.into_inner())
        };
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, asked).await })?
    }

    /// Whether the runtime answers.
    pub fn answers(&self) -> bool {
        self.ask::<_, Nothing>("Version", Nothing {}).is_ok()
    }

    /// Makes a pod, in the network namespace of the runtime.
    pub fn run_pod(&self, spec: &PodSpec) -> Result<Pod> {
        let PodSpec { namespace, name, uid, labels, cgroup } = spec.clone();
        let namespaces = Some(Namespaces { network: OF_NODE });
        let linux = SandboxLinux {
            cgroup_parent: format!("{cgroup}/pod{uid}"),
            security: Some(SandboxSecurity { namespaces }),
        };
        let metadata = Metadata { name, uid, namespace };
        let config = SandboxConfig { metadata: Some(metadata), labels, linux: Some(linux) };
        let question = RunSandbox { config: Some(config.clone()) };
        let Id { id } = self.ask("RunPodSandbox", question)?;
        Ok(Pod { id, config })
    }

    /// Makes a container in a pod, and starts it; gives its id.
    pub fn start(&self, pod: &Pod, spec: &ContainerSpec) -> Result<String> {
        let mount = |(outside, inside): &(String, String)| Mount {
            inside: inside.clone(),
            outside: outside.clone(),
            readonly: true,
        };
        let namespaces = Some(Namespaces { network: OF_NODE });
        let config = ContainerConfig {
            metadata: Some(Named { name: spec.name.clone() }),
            image: Some(Named { name: spec.image.clone() }),
            command: spec.command.clone(),
            mounts: spec.files.iter().map(mount).collect(),
            linux: Some(ContainerLinux { security: Some(ContainerSecurity { namespaces }) }),
        };
        let question = CreateContainer {
            sandbox: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let Id { id } = self.ask("CreateContainer", question)?;
        let Nothing {} = self.ask("StartContainer", Id { id: id.clone() })?;
        Ok(id)
    }

    /// Waits until a container has ended; gives its exit code.
    pub fn wait(&self, container: &str) -> Result<i32> {
        let ended = || {
            let question = Id { id: container.to_owned() };
            let answer: StatusAnswer = self.ask("ContainerStatus", question).ok()?;
            answer.status.filter(|status| status.state == EXITED).map(|status| status.exit_code)
        };
        wait_until(DEADLINE, "the end of a container", ended)
    }

    /// Removes a container.
    pub fn remove(&self, container: &str) -> Result<()> {
        let Nothing {} = self.ask("RemoveContainer", Id { id: container.to_owned() })?;
        Ok(())
    }

    /// Runs a container to its end, and removes it; gives its id.
    pub fn run(&self, pod: &Pod, spec: &ContainerSpec) -> Result<String> {
        let id = self.start(pod, spec)?;
        let code = self.wait(&id)?;
        self.remove(&id)?;
        ensure!(code == 0, "{} of {} ended with {code}", spec.name, pod.id);
        Ok(id)
    }

    /// Kills what runs in a pod, and removes it.
    pub fn remove_pod(&self, pod: &Pod) -> Result<()> {
        let Nothing {} = self.ask("StopPodSandbox", Id { id: pod.id.clone() })?;
        let Nothing {} = self.ask("RemovePodSandbox", Id { id: pod.id.clone() })?;
        Ok(())
    }
}
