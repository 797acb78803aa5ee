//! Addresses and a namespace come in; a running provider server goes out, stopped when dropped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::lab::ca::Authority;
use crate::lab::provider::connection::{Connection, Wire};
use crate::lab::provider::control;
use crate::lab::provider::fact::Facts;
use crate::lab::provider::service::Service;
use crate::lab::{dns, net};

/// Connections at once: the heaviest load run uses a tenth.
const CONNECTIONS_MAX: usize = 8192;

/// Threads of the server: a machine's second core belongs to the clients.
const WORKERS: usize = 2;

/// How long a client may take for its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// Bytes of each HTTP/2 window: large bodies should not wait for updates.
const WINDOW_BYTES: u32 = 1 << 20;

/// What the preface of HTTP/2 begins with, and no request of HTTP/1.1.
const PRIOR_KNOWLEDGE: [u8; 4] = *b"PRI ";

/// Where and how a server listens.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace to listen in; `None` for the present one.
    pub namespace: Option<String>,
    /// Address of the listeners; the unspecified one means every address of both families.
    pub address: IpAddr,
    /// Port of the TLS listener; 0 picks one.
    pub tls_port: u16,
    /// Port of the listener without TLS; 0 picks one.
    pub plain_port: u16,
    /// Path of the Unix socket that tells the facts.
    pub control: Option<PathBuf>,
    /// Address of the name server, where one is wanted, and whether it knows IPv6 addresses.
    pub dns: Option<(Ipv4Addr, bool)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: None,
            address: Ipv4Addr::UNSPECIFIED.into(),
            tls_port: 443,
            plain_port: 80,
            control: None,
            dns: None,
        }
    }
}

/// A provider server in threads of its own.
#[derive(Debug)]
pub struct Server {
    facts: Facts,
    questions: dns::Questions,
    stray: Arc<AtomicU64>,
    tls: SocketAddr,
    plain: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server and returns when it accepts connections.
    pub fn start(settings: Settings, authority: &Arc<Authority>) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server_config()?));
        let (facts, questions) = (Facts::default(), dns::Questions::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, readiness) = sync_channel(1);
        let stray = Arc::new(AtomicU64::new(0));
        let task = Task {
            settings,
            acceptor,
            facts: facts.clone(),
            questions: questions.clone(),
            stray: Arc::clone(&stray),
        };
        let thread = std::thread::Builder::new()
            .name("lab-server".to_owned())
            .spawn(move || task.run(&ready, stopped))
            .context("starting the server's thread")?;
        let (tls, plain) = readiness.recv().context("the server's thread ended")??;
        Ok(Self { facts, questions, stray, tls, plain, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the facts of calls that have ended.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns how many plaintext bytes came on HTTP/1.1 connections that have ended, and belong to no call of the facts.
    pub fn stray_bytes(&self) -> u64 {
        self.stray.load(Ordering::Relaxed)
    }

    /// Returns the names that clients asked the name server for.
    pub fn questions(&self) -> &dns::Questions {
        &self.questions
    }

    /// Returns the address of the TLS listener.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls
    }

    /// Returns the address of the listener without TLS.
    pub fn plain_address(&self) -> SocketAddr {
        self.plain
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread takes the end of the channel for the word to stop.
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

type Addresses = (SocketAddr, SocketAddr);

/// What the server's thread takes along.
struct Task {
    settings: Settings,
    acceptor: TlsAcceptor,
    facts: Facts,
    questions: dns::Questions,
    stray: Arc<AtomicU64>,
}

impl Task {
    fn run(self, ready: &SyncSender<Result<Addresses>>, stopped: oneshot::Receiver<()>) {
        // Threads are born in the namespace of the one that starts them, so the runtime is made after the move.
        let moved = self.settings.namespace.as_deref().map_or(Ok(()), net::enter);
        let runtime = moved.and_then(|()| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(WORKERS).thread_name("lab-server").enable_all();
            builder.build().context("making the server's runtime")
        });
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let bound = self.bind(&mut tasks).await;
            let failed = bound.is_err();
            if ready.send(bound).is_ok() && !failed {
                drop(stopped.await);
            }
            tasks.abort_all();
        });
        runtime.shutdown_background();
    }

    async fn bind(self, tasks: &mut JoinSet<()>) -> Result<Addresses> {
        let Self { settings, acceptor, facts, questions, stray } = self;
        let tls = listen(settings.address, settings.tls_port).await?;
        let plain = listen(settings.address, settings.plain_port).await?;
        let addresses = (tls.local_addr()?, plain.local_addr()?);
        if let Some((address, ipv6)) = settings.dns {
            let (socket, listener) = dns::bind(address).await?;
            let asked = questions.clone();
            tasks.spawn(async move { drop(dns::serve_tcp(listener, asked, ipv6).await) });
            tasks.spawn(async move { drop(dns::serve(socket, questions, ipv6).await) });
        }
        if let Some(path) = &settings.control {
            let socket = UnixListener::bind(path).context("binding the control socket")?;
            tasks.spawn(control::serve(socket, facts.clone()));
        }
        let front = Arc::new(Front {
            service: Arc::new(Service::new(facts)),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            connections: AtomicU64::new(0),
            stray,
        });
        tasks.spawn(Arc::clone(&front).accept(tls, Some(acceptor)));
        tasks.spawn(front.accept(plain, None));
        Ok(addresses)
    }
}

async fn listen(address: IpAddr, port: u16) -> Result<TcpListener> {
    if address.is_unspecified()
        && let Ok(both) = TcpListener::bind(("::", port)).await
    {
        return Ok(both);
    }
    let listener = TcpListener::bind((address, port)).await;
    listener.with_context(|| format!("listening on {address} port {port}"))
}

/// What the listeners share.
struct Front {
    service: Arc<Service>,
    room: Arc<Semaphore>,
    connections: AtomicU64,
    stray: Arc<AtomicU64>,
}

impl Front {
    async fn accept(self: Arc<Self>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
        while let Ok(permit) = Arc::clone(&self.room).acquire_owned().await {
            // A connection that is gone before it is accepted concerns nobody.
            let Ok((stream, peer)) = listener.accept().await else { continue };
            let (front, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                // A client that breaks off is an ordinary event: its fact says so.
                drop(front.greet(stream, peer, acceptor).await);
                drop(permit);
            });
        }
    }

    async fn greet(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        acceptor: Option<TlsAcceptor>,
    ) -> Result<()> {
        stream.set_nodelay(true)?;
        let number = self.connections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut connection = Connection::new(number, plain(peer), plain(stream.local_addr()?));
        connection.stray = Arc::clone(&self.stray);
        let Some(acceptor) = acceptor else {
            // RFC 9113, 3.3: a client may know beforehand that this is HTTP/2.
            let mut begin = [0; PRIOR_KNOWLEDGE.len()];
            stream.peek(&mut begin).await?;
            connection.h2 = begin == PRIOR_KNOWLEDGE;
            let connection = Arc::new(connection);
            return self.speak(Wire::new(stream, Arc::clone(&connection)), connection).await;
        };
        let secured = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await??;
        let (_, session) = secured.get_ref();
        connection.tls = true;
        connection.sni = session.server_name().unwrap_or_default().to_owned();
        connection.h2 = session.alpn_protocol() == Some(b"h2");
        let connection = Arc::new(connection);
        self.speak(Wire::new(secured, Arc::clone(&connection)), connection).await
    }

    async fn speak<T>(&self, wire: Wire<T>, connection: Arc<Connection>) -> Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (service, h2) = (Arc::clone(&self.service), connection.h2);
        let answer =
            service_fn(move |request| Arc::clone(&service).serve(Arc::clone(&connection), request));
        let io = TokioIo::new(wire);
        if h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(WINDOW_BYTES);
            builder.initial_connection_window_size(WINDOW_BYTES);
            builder.serve_connection(io, answer).await?;
        } else {
            let http = hyper::server::conn::http1::Builder::new().serve_connection(io, answer);
            http.with_upgrades().await?;
        }
        Ok(())
    }
}

/// A listener of both families shows IPv4 peers as mapped addresses.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
