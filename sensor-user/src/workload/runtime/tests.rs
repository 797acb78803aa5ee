//! Answers of runtimes, whole and damaged, come in; what is kept of them is compared, and stays within its bounds.

use super::*;
use proptest::prelude::*;

const DOCKER: &[u8] = br#"[{"Id":"aa","Names":["/web"],"Image":"nginx:1.27","Labels":{"app":"web"}},{"Id":"cc","Labels":null}]"#;
const PODMAN: &[u8] =
    br#"[{"id":"bb","names":["db"],"metadata":"{\"image-name\":\"postgres:17\"}"}]"#;
const EVENTS: &[u8] = b"{\"Action\":\"start\",\"Actor\":{\"ID\":\"aa\"}}\n{}\n{\"Action\":\"die\",\"Actor\":{\"ID\":\"bb\"}}\n";

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encode_length_delimiter(bytes.len(), &mut field).unwrap();
    [field, bytes.to_vec()].concat()
}

/// A pod with one label, as the CRI lists it.
fn sandbox(value: &[u8]) -> Vec<u8> {
    let name = [field(1, b"web-7f9c"), field(2, b"7f1d"), field(3, b"shop")].concat();
    let label = [field(1, b"app"), field(2, value)].concat();
    field(1, &[field(1, b"aa"), field(2, &name), field(5, &label), field(9, b"more")].concat())
}

fn assert_bounded(about: &About) {
    let pod = about.pod.as_deref();
    let of_pod = pod.map(|pod| [&pod.namespace, &pod.name, &pod.uid]).into_iter().flatten();
    for text in [&about.name, &about.image].into_iter().flatten().chain(of_pod) {
        assert!(text.len() <= 512, "{} bytes", text.len());
    }
    let labels = about.labels.iter().flat_map(|labels| &labels.pairs);
    let bytes: usize = labels.map(|(key, value)| key.len().saturating_add(value.len())).sum();
    assert!(bytes <= 8 * 1024, "{bytes} bytes of labels");
}

#[test]
fn lists_of_all_runtimes_say_who_their_containers_are() {
    let docker = docker::said(DOCKER);
    let names: Vec<_> =
        docker.iter().map(|(id, about)| (id.as_str(), about.name.as_deref())).collect();
    assert_eq!(names, [("aa", Some("web")), ("cc", None)]);
    let (id, about) = podman::said(PODMAN).remove(0);
    assert_eq!((id.as_str(), about.image.as_deref()), ("bb", Some("postgres:17")));
    let (id, about) = cri::said(&sandbox(b"web")).remove(0);
    let pod = about.pod.as_deref().unwrap();
    assert_eq!(
        (id.as_str(), pod.namespace.as_str(), pod.name.as_str()),
        ("aa", "shop", "web-7f9c")
    );
    assert_eq!(about.labels.as_ref().unwrap().pairs, [("app".to_owned(), "web".to_owned())]);
    // A hostile label is not kept, and the pod is known all the same.
    let (_, about) = cri::said(&sandbox(&vec![b'x'; 100_000])).remove(0);
    assert_bounded(&about);
    assert!(about.pod.is_some() && !about.labels.as_ref().unwrap().is_whole);
    assert_eq!(
        named(EVENTS, 9),
        [vec!["aa".to_owned(), "bb".to_owned()], vec!["aa".to_owned(), "bb".to_owned()]]
    );
}

#[test]
fn error_is_told_with_each_cause_once_and_within_its_bound() {
    let cause = io::Error::other("refused ".repeat(100));
    let error = Error::Connect(Box::new(cause));
    let text = told(&error);
    assert!(text.starts_with("connecting to the runtime: refused") && text.len() <= TOLD_BYTES_MAX);
    let status = tonic::Status::unavailable("gone");
    let error = Error::Refused { what: "/x".to_owned(), source: Box::new(status) };
    assert!(!error.is_about_question() && !error.is_unimplemented());
    let status = tonic::Status::internal("odd id");
    let error = Error::Refused { what: "/x".to_owned(), source: Box::new(status) };
    assert!(error.is_about_question());
}

proptest! {
    #[test]
    fn damaged_answers_are_bounded_and_never_panic(
        which in 0_usize..4,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = [DOCKER.to_vec(), PODMAN.to_vec(), EVENTS.to_vec(), sandbox(b"web")][which].clone();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        let from = cut.index(bytes.len());
        bytes.splice(from..from, noise);
        for (_, about) in said(&bytes) {
            assert_bounded(&about);
        }
        let [whole, in_parts] = named(&bytes, from);
        prop_assert!(whole.ends_with(&in_parts));
    }
}

/// Answers one question after the other as Docker does, by path; a stream of events stays open.
fn serve(listener: &std::os::unix::net::UnixListener, list: &str) {
    use std::io::{BufRead, BufReader, Write};
    let mut open = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let path = first.split(' ').nth(1).unwrap();
        let body = match path {
            "/version" => r#"{"Version":"99"}"#,
            "/containers/json" => list,
            "/containers/late/json" => {
                r#"{"Id":"late","Name":"/late","Config":{"Image":"x","Labels":null}}"#
            }
            path if path.starts_with("/events") => {
                write!(stream, "HTTP/1.1 200 OK\r\n\r\n").unwrap();
                open.push(stream);
                continue;
            }
            "/stop" => return,
            _ => "",
        };
        let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
        let length = body.len();
        // Who asked may have left.
        let _sent = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    }
}

#[test]
fn runtime_that_hangs_or_lists_a_hundred_thousand_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Nobody ever accepts what connects to these.
    let _hung =
        ["cri", "docker"].map(|name| std::os::unix::net::UnixListener::bind(at(name)).unwrap());
    let listener = std::os::unix::net::UnixListener::bind(at("full")).unwrap();
    let all: Vec<_> =
        (0..100_000).map(|id| format!(r#"{{"Id":"{id}","Names":["/x"],"Image":"i"}}"#)).collect();
    let list = format!("[{}]", all.join(","));
    let server = std::thread::spawn(move || serve(&listener, &list));
    let config = Config {
        cri: vec![at("cri")],
        docker: vec![at("docker"), at("full"), at("absent")],
        podman: Vec::new(),
        containers_max: 50,
        ..Config::default()
    };
    let index = index(&config);
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    tokio.spawn(follow(config, "/none".into(), Arc::clone(&index)));
    let bound = std::time::Instant::now();
    while index.metrics().lists == 0 {
        assert!(bound.elapsed() < Duration::from_mins(1), "{:?}", index.sources());
        std::thread::yield_now();
    }
    assert_eq!((index.known(), index.metrics().over), (50, 99_950));
    let stands = |name: &str| {
        let sources = index.sources();
        sources.into_iter().find(|source| source.path == at(name)).unwrap().standing
    };
    for hung in ["cri", "docker"] {
        assert!(matches!(stands(hung), Standing::Starting | Standing::Failed(_)), "{hung}");
    }
    assert_eq!(stands("absent"), Standing::Absent);
    // The full one still answers about a single container, once there is room for it.
    index.gone("0");
    let cell = index.seen("late", "/late");
    while cell.get().is_none() {
        assert!(bound.elapsed() < Duration::from_mins(1), "{:?}", index.sources());
        std::thread::yield_now();
    }
    assert_eq!(cell.get().unwrap().name.as_deref(), Some("late"));
    assert_eq!(index.take_resolved(), ["late"]);
    tokio.shutdown_background();
    let mut stop = std::os::unix::net::UnixStream::connect(at("full")).unwrap();
    io::Write::write_all(&mut stop, b"GET /stop HTTP/1.1\r\n\r\n").unwrap();
    server.join().unwrap();
}
