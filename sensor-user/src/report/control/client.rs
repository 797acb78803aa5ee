//! A question goes out over the agent's Unix socket; its answer comes in.

use std::io;
use std::path::Path;

use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::report::Error;

/// Longest answer that is taken: a full inventory.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// Asks the agent for the JSON at a path.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Error> {
    let unreachable = |source| Error::Agent { path: socket.to_owned(), source };
    let broken = |error: &dyn std::fmt::Display| Error::Agent {
        path: socket.to_owned(),
        source: io::Error::other(error.to_string()),
    };
    let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "tollgate")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX)
        .collect()
        .await
        .map_err(|error| broken(&error))?
        .to_bytes();
    driver.abort();
    if !status.is_success() {
        return Err(Error::Refused(String::from_utf8_lossy(&body).trim().to_owned()));
    }
    serde_json::from_slice(&body).map_err(|error| broken(&error))
}
