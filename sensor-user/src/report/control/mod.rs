//! Questions over the agent's Unix socket come in; its state and the inventory go out as JSON. Who may open the socket may ask.

pub mod client;
mod picture;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::Json;
use axum::Router;
use axum::extract::Query;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use tokio::net::UnixListener;

use crate::policy::Engine;
use crate::report::Error;
use crate::report::inventory::approved;
use crate::report::metrics::Covered;
use crate::store;
use crate::store::Store;

/// Path of the agent's state.
pub const STATUS: &str = "/v1/status";
/// Path of the inventory.
pub const INVENTORY: &str = "/v1/inventory";

/// What the agent says of itself, once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Picture {
    /// Version of the agent.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, seconds since 1970.
    pub started: i64,
    /// What is missing; with nothing missing it is ready.
    pub missing: Vec<String>,
    /// Which policies are in force, and what is wrong with others; empty where there are none.
    pub policies: String,
    /// Which container runtimes are asked, one a line; empty where there are none.
    pub runtimes: Vec<String>,
    /// Processes that carry probes.
    pub processes: u64,
    /// Probes set.
    pub probes: u64,
    /// Connections decoded at this time.
    pub connections: u64,
    /// Connections to AI providers that ended: how much of them was seen, why not all, and what the rest may have cost.
    pub coverage: Covered,
    /// Counters of all stages and of the kernel half, as `stage.event`.
    pub counters: BTreeMap<String, u64>,
}

/// What the socket's routes answer from.
#[derive(Clone, Debug)]
pub struct Control {
    /// State folder, with the inventory.
    pub state: PathBuf,
    /// The newest picture.
    pub picture: Arc<Mutex<Picture>>,
    /// The policies in force.
    pub engine: Arc<Mutex<Arc<Engine>>>,
}

#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    since: i64,
}

/// Opens the socket, for its owner alone; one that a dead agent left behind is replaced, a live one is an error.
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::Socket { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(failed(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another agent answers there; set `control.socket` of one of them",
        )));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves until `stop` is done.
pub async fn serve(
    listener: UnixListener,
    control: Control,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let routes = Router::new()
        .route(STATUS, get(status))
        .route(INVENTORY, get(inventory))
        .with_state(control);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn status(State(control): State<Control>) -> Json<Picture> {
    Json(control.picture.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn inventory(State(control): State<Control>, Query(query): Query<Since>) -> Response {
    let engine = Arc::clone(&control.engine.lock().unwrap_or_else(PoisonError::into_inner));
    let read = move || {
        let mut entries = Store::open_to_read(&control.state)?.entries(query.since)?;
        let now = Timestamp::now();
        for entry in &mut entries {
            entry.approved = approved(&engine, entry, now);
        }
        Ok::<_, store::Error>(entries)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(entries)) => Json(entries).into_response(),
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!("{error}: {}\n", cause.unwrap_or_default());
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        Err(_ended) => (StatusCode::INTERNAL_SERVER_ERROR, "reading the inventory ended early\n")
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn answers_its_client_and_replaces_a_dead_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent.sock");
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(Error::Socket { .. })), "a live agent is not replaced");
        let mut store = Store::open(folder.path()).unwrap();
        let entry = Entry {
            figures: store::Figures { last_seen: 5, calls: 2, ..Default::default() },
            ..Entry::default()
        };
        store.add(std::slice::from_ref(&entry)).unwrap();
        let picture = Picture { processes: 3, ..Picture::default() };
        let control = Control {
            state: folder.path().to_owned(),
            picture: Arc::new(Mutex::new(picture.clone())),
            engine: Arc::default(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, control, async { stopped.await.unwrap() }));
        let said: Picture = client::get(&path, STATUS).await.unwrap();
        assert_eq!(said, picture);
        let entries: Vec<Entry> = client::get(&path, "/v1/inventory?since=5").await.unwrap();
        assert_eq!(entries, [entry]);
        let none: Vec<Entry> = client::get(&path, "/v1/inventory?since=6").await.unwrap();
        assert!(none.is_empty());
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
        let gone = client::get::<Picture>(&folder.path().join("none"), STATUS).await.unwrap_err();
        assert!(gone.to_string().contains("is the agent running"), "{gone}");
    }
}
