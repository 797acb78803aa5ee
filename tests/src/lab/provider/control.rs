//! Requests on a Unix socket come in; the facts of the server, one line of JSON a call, go out.

use std::convert::Infallible;
use std::future::ready;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use crate::lab::provider::fact::{Fact, Facts};

/// How long a reader waits for the server.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Serves `GET /facts`, `GET /count` and `POST /clear` over HTTP/1.1.
pub async fn serve(socket: UnixListener, facts: Facts) {
    while let Ok((stream, _)) = socket.accept().await {
        let facts = facts.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                ready(Ok::<_, Infallible>(answer(&request, &facts)))
            });
            let io = TokioIo::new(stream);
            // A reader that goes away early has what it wanted.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await);
        });
    }
}

fn answer(request: &Request<Incoming>, facts: &Facts) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/facts") => (StatusCode::OK, lines(&facts.all())),
        (&Method::GET, "/count") => (StatusCode::OK, facts.count().to_string()),
        (&Method::POST, "/clear") => {
            facts.clear();
            (StatusCode::OK, String::new())
        }
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

/// Writes facts as lines of JSON.
pub fn lines(facts: &[Fact]) -> String {
    let lines = facts.iter().filter_map(|fact| serde_json::to_string(fact).ok());
    lines.map(|line| line + "\n").collect()
}

/// Reads the facts of a server in another process.
pub fn read_facts(socket: &Path) -> Result<Vec<Fact>> {
    let lines = ask(socket, "GET /facts")?;
    lines.lines().map(|line| serde_json::from_str(line).context("reading a fact")).collect()
}

fn ask(socket: &Path, what: &str) -> Result<String> {
    let mut stream = BlockingStream::connect(socket).context("connecting to the control socket")?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "{what} HTTP/1.0\r\n\r\n").context("asking the control socket")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("reading from the control socket")?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer from the control socket")?;
    ensure!(head.contains(" 200 "), "the control socket refused {what}");
    Ok(body.to_owned())
}
