//! HTTP requests of Prometheus and of an orchestrator come in; metrics, health and readiness go out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio::time::sleep;

use crate::report::Error;
use crate::report::Metrics;

/// Connections served at once; further ones wait in the kernel's queue. A scraper needs one.
const CONNECTIONS_MAX: usize = 16;
/// A connection is cut after this time, so that a client that sends nothing cannot hold a place.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(1);
/// Pause after the kernel refused to accept (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Whether the agent sees what it should see; what is missing otherwise.
#[derive(Debug)]
pub struct Readiness(Mutex<Vec<String>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Mutex::new(vec!["starting".to_owned()]))
    }
}

impl Readiness {
    /// Sets what is missing; with nothing missing the agent is ready.
    pub fn set_missing(&self, missing: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = missing;
    }

    /// What is missing.
    pub fn missing(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone, Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

/// Opens the address of the server.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Serves until `stop` is done, then finishes the answers under way.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let routes = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(Shared { metrics, readiness });
    let bounded = BoundedListener { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    axum::serve(bounded, routes).with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    match shared.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    let missing = shared.readiness.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; ")))
        .into_response()
}

/// Hands out connections while there are places.
struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection that keeps its place until it is closed, and ends when its time is over.
struct BoundedStream {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let accepted = self.listener.accept().await;
            if let (Ok(place), Ok((stream, address))) = (place, accepted) {
                let end = Box::pin(sleep(CONNECTION_LIFETIME));
                return (BoundedStream { stream, end, _place: place }, address);
            }
            sleep(ACCEPT_PAUSE).await;
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::sync::oneshot;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_health_readiness_and_metrics_and_stops() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, readiness) =
            (Arc::new(Metrics::new(10).unwrap()), Arc::new(Readiness::default()));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, metrics, Arc::clone(&readiness), async {
            stopped.await.unwrap();
        }));
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: starting\n"),
            "{answer}"
        );
        readiness.set_missing(Vec::new());
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/metrics").await;
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\ntollgate_agent_info{version="), "{answer}");
        assert!(ask(address, "/other").await.starts_with("HTTP/1.1 404"));
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn idle_connections_do_not_take_the_place_of_others_for_ever() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = BoundedListener { listener, places: Arc::new(Semaphore::new(1)) };
        let _first_client = TcpStream::connect(address).await.unwrap();
        let _second_client = TcpStream::connect(address).await.unwrap();
        let (mut first, _) = bounded.accept().await;
        first.end = Box::pin(sleep(Duration::ZERO));
        let waiting = tokio::spawn(async move { bounded.accept().await });
        assert_eq!(first.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn taken_address_is_named() {
        let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("listening on {address}; what to do: ")));
    }
}
