//! Docker's socket comes in; its list, its events and its answers about single containers go into the index.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::Request;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::sleep_until;

use crate::workload::About;
use crate::workload::Labels;
use crate::workload::Pod;

use super::Error;
use super::LIST_BYTES_MAX;
use super::ONE_BYTES_MAX;
use super::Standing;
use super::grpc::in_time;
use super::index::Index;
use super::pace::Questions;
use super::pace::after;
use super::pace::keep;
use super::session::Place;

/// Events of containers, as the daemon filters them: `{"type":["container"]}`, percent-encoded.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
/// Events after which a container is looked at.
const BEGINS: [&str; 3] = ["create", "start", "rename"];
/// Events after which it is over.
const ENDS: [&str; 2] = ["die", "destroy"];
/// Labels with which a pod's containers are marked where Kubernetes runs them on Docker.
const POD_LABELS: [&str; 3] =
    ["io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.pod.uid"];
const CONTAINER_LABEL: &str = "io.kubernetes.container.name";

/// Labels, which the daemon gives as `null` where there are none.
type Map = Option<BTreeMap<String, String>>;

/// A container in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    labels: Map,
}

/// A container by itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    id: String,
    #[serde(default)]
    name: String,
    config: Configured,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configured {
    #[serde(default)]
    image: String,
    #[serde(default)]
    labels: Map,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
}

/// A line of the event stream.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Debug, Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

impl Listed {
    fn about(self) -> (String, About) {
        let name = self.names.first().map_or("", String::as_str);
        let about = about(name, &self.image, &self.labels.unwrap_or_default());
        (self.id, about)
    }
}

/// Follows the daemon at a socket for ever, over its restarts.
pub(super) async fn follow(socket: PathBuf, (source, index): Place, every: Duration) {
    keep(&socket, (source, &index), || session(&socket, (source, &index), every)).await;
}

async fn session(
    socket: &Path,
    (source, index): (usize, &Index),
    every: Duration,
) -> Result<std::convert::Infallible, Error> {
    let version: Version = get(socket, "/version", ONE_BYTES_MAX).await?;
    let mut news = index.news();
    // Before the list, so that nothing falls between the two.
    let mut events = in_time(EVENTS, open(socket, EVENTS)).await??;
    let mut lines = Lines::default();
    list(socket, (source, index)).await?;
    let who = format!("docker {}", version.version);
    index.stands(source, Standing::Connected { who, has_events: true });
    let (mut next_list, mut questions) = (after(every), Questions::new());
    loop {
        tokio::select! {
            frame = events.frame() => {
                let broken = |error: hyper::Error| Error::Broken(error.to_string());
                let frame = frame.transpose().map_err(broken)?;
                let frame = frame.ok_or_else(|| Error::Broken("events have ended".to_owned()))?;
                for said in lines.push(frame.data_ref().unwrap_or(&Bytes::new())) {
                    on_event(socket, (source, index), &said).await?;
                }
            }
            changed = news.changed() => {
                changed.map_err(|_gone| Error::Broken("nobody asks any more".to_owned()))?;
                questions.ask();
            }
            () = questions.due() => {
                let mut is_open = false;
                for wanted in index.wanted() {
                    // What is known by this id may be another's: who asked is given an answer, or up.
                    let is_known = look(socket, (source, index), &wanted.id).await?;
                    is_open |= !is_known || wanted.owner.is_some();
                }
                questions.asked(is_open);
            }
            () = sleep_until(next_list) => {
                list(socket, (source, index)).await?;
                next_list = after(every);
            }
        }
    }
}

async fn on_event(
    socket: &Path,
    (source, index): (usize, &Index),
    said: &Said,
) -> Result<(), Error> {
    if BEGINS.contains(&said.action.as_str()) {
        look(socket, (source, index), &said.actor.id).await?;
    } else if ENDS.contains(&said.action.as_str()) {
        index.gone(&said.actor.id);
    }
    Ok(())
}

/// Asks about one container; says whether it is known.
async fn look(socket: &Path, (source, index): (usize, &Index), id: &str) -> Result<bool, Error> {
    // What a cgroup or an event calls an id may be anything; it goes into a path.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(false);
    }
    let path = format!("/containers/{id}/json");
    match get::<One>(socket, &path, ONE_BYTES_MAX).await {
        Ok(one) if one.id == id => {
            let labels = one.config.labels.unwrap_or_default();
            let about = about(&one.name, &one.config.image, &labels);
            index.learn(source, id, (about, None));
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn list(socket: &Path, (source, index): (usize, &Index)) -> Result<(), Error> {
    let listed = get::<Vec<Listed>>(socket, "/containers/json", LIST_BYTES_MAX).await;
    let all = listed.inspect_err(|_| index.list_failed())?;
    let mut ids = HashSet::new();
    for (id, about) in all.into_iter().map(Listed::about) {
        index.learn(source, &id, (about, None));
        ids.insert(id);
    }
    index.listed(source, &ids);
    Ok(())
}

fn about(name: &str, image: &str, labels: &BTreeMap<String, String>) -> About {
    let pairs = || labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let made = About::of("docker").of_image(image);
    let [namespace, pod, uid] =
        POD_LABELS.map(|label| labels.get(label).map_or("", String::as_str));
    match Pod::of(namespace, pod, uid) {
        Some(pod) => {
            let name = labels.get(CONTAINER_LABEL).map_or("", String::as_str);
            made.named(name).in_pod(Some((pod.into(), Labels::of(pairs()).into())))
        }
        None => made.named(name.trim_start_matches('/')).labelled(pairs()),
    }
}

/// What a list says.
pub(super) fn said(bytes: &[u8]) -> Vec<(String, About)> {
    let all: Vec<Listed> = serde_json::from_slice(bytes).unwrap_or_default();
    all.into_iter().map(Listed::about).collect()
}

/// The containers that events name, with the bytes of the stream cut at a place.
pub(super) fn named(bytes: &[u8], at: usize) -> Vec<String> {
    let (head, tail) = bytes.split_at(at.min(bytes.len()));
    let mut lines = Lines::default();
    let mut said = lines.push(head);
    said.extend(lines.push(tail));
    said.into_iter().map(|said| said.actor.id).collect()
}

/// Opens the answer to a question; one that is refused is an error.
async fn open(socket: &Path, path: &str) -> Result<Incoming, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Connect(error);
    let stream = UnixStream::connect(socket).await.map_err(|error| failed(error.into()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.into()))?;
    // Ends with the answer, or when the answer is dropped.
    drop(tokio::spawn(connection));
    let request = Request::get(path)
        .header("host", "docker")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.into()))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer.into_body());
    }
    let code = if status == hyper::StatusCode::NOT_FOUND {
        tonic::Code::NotFound
    } else {
        tonic::Code::Unknown
    };
    let source = Box::new(tonic::Status::new(code, status.to_string()));
    Err(Error::Refused { what: path.to_owned(), source })
}

/// Reads the whole answer to a question.
async fn get<T: DeserializeOwned>(socket: &Path, path: &str, bytes_max: usize) -> Result<T, Error> {
    let asked = async {
        let body = Limited::new(open(socket, path).await?, bytes_max);
        let bytes = body.collect().await.map_err(|error| Error::Broken(error.to_string()))?;
        serde_json::from_slice(&bytes.to_bytes())
            .map_err(|error| Error::Broken(format!("{path}: {error}")))
    };
    in_time(path, asked).await?
}

/// Bytes of the event stream, up to a line's end.
#[derive(Debug, Default)]
struct Lines {
    held: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    is_over: bool,
}

impl Lines {
    /// Takes bytes; gives the events whose lines end in them.
    fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            self.is_over |= self.held.len().saturating_add(part.len()) > ONE_BYTES_MAX;
            if !self.is_over {
                self.held.extend_from_slice(part);
            }
            if parts.peek().is_some() {
                // What is no event of a container is none of ours.
                said.extend(serde_json::from_slice::<Said>(&self.held).ok());
                (self.held, self.is_over) = (Vec::new(), false);
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "{\"status\":\"start\",\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"aa\",\"Attributes\":{\"image\":\"x\"}},\"time\":1}\n";

    #[test]
    fn events_are_lines_cut_anywhere() {
        let text = format!("{EVENT}nonsense\n{{}}\n{EVENT}");
        for at in 0..=text.len() {
            let mut lines = Lines::default();
            let mut said = lines.push(&text.as_bytes()[..at]);
            said.extend(lines.push(&text.as_bytes()[at..]));
            let ids: Vec<_> = said.iter().map(|said| said.actor.id.as_str()).collect();
            assert_eq!(ids, ["aa", "aa"], "{at}");
        }
    }

    #[test]
    fn line_without_an_end_costs_no_more_than_the_bound() {
        let (mut lines, part) = (Lines::default(), vec![b'x'; 64 * 1024]);
        for _ in 0..64 {
            assert!(lines.push(&part).is_empty());
            assert!(lines.held.len() <= ONE_BYTES_MAX);
        }
        assert!(lines.push(b"\n").is_empty());
        assert_eq!(lines.push(EVENT.as_bytes()).len(), 1);
    }

    #[test]
    fn pod_on_docker_is_told_by_its_labels() {
        let own = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let plain = about("/web", "nginx:1.27", &own);
        assert_eq!((plain.name.as_deref(), &plain.pod), (Some("web"), &None));
        assert_eq!(plain.labels.unwrap().pairs, [("app".to_owned(), "web".to_owned())]);
        let mut labels = own;
        for (label, value) in
            POD_LABELS.into_iter().chain([CONTAINER_LABEL]).zip(["ns", "p", "u", "c"])
        {
            labels.insert(label.to_owned(), value.to_owned());
        }
        let made = about("/k8s_c_p_ns_u_0", "nginx:1.27", &labels);
        let pod = made.pod.unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("ns", "p"));
        assert_eq!(made.name.as_deref(), Some("c"));
    }
}
