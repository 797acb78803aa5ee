//! A byte stream comes in; the same stream with its first request byte timed and its writes cut to size goes out.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::harness::monotonic_ns;

/// What the server knows about one connection.
#[derive(Debug)]
pub struct Connection {
    /// Number, from 1.
    pub number: u64,
    /// Client's address.
    pub peer: SocketAddr,
    /// Server's address.
    pub local: SocketAddr,
    /// Name in the `ClientHello`, or empty.
    pub sni: String,
    /// Whether HTTP/2 was agreed on.
    pub h2: bool,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Bytes of connections over HTTP/1.1 that ended before they made a request.
    pub stray: Arc<AtomicU64>,
    first_byte_ns: AtomicU64,
    unclaimed: AtomicU64,
    split: AtomicUsize,
}

impl Connection {
    /// Describes a fresh connection.
    pub fn new(number: u64, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            number,
            peer,
            local,
            sni: String::new(),
            h2: false,
            tls: false,
            stray: Arc::default(),
            first_byte_ns: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
            split: AtomicUsize::new(usize::MAX),
        }
    }

    /// Returns when the present request began; on HTTP/2, where requests overlap, that is now.
    pub fn request_began_ns(&self) -> u64 {
        let seen = self.first_byte_ns.load(Ordering::Relaxed);
        if self.h2 || seen == 0 { monotonic_ns() } else { seen }
    }

    /// Makes the next byte read count as the first of a request.
    pub fn expect_request(&self) {
        self.first_byte_ns.store(0, Ordering::Relaxed);
    }

    /// Says that what was read so far belongs to a request that was seen.
    pub fn claim(&self) {
        self.unclaimed.store(0, Ordering::Relaxed);
    }

    /// Cuts all further writes to `bytes`.
    pub fn split_writes(&self, bytes: Option<usize>) {
        self.split.store(bytes.unwrap_or(usize::MAX), Ordering::Relaxed);
    }
}

/// A stream that reports to its [`Connection`] and obeys it.
#[derive(Debug)]
pub struct Wire<T> {
    inner: T,
    connection: Arc<Connection>,
}

impl<T> Wire<T> {
    /// Wraps a stream.
    pub fn new(inner: T, connection: Arc<Connection>) -> Self {
        Self { inner, connection }
    }

    fn cut<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(..self.connection.split.load(Ordering::Relaxed)).unwrap_or(bytes)
    }
}

impl<T> Drop for Wire<T> {
    fn drop(&mut self) {
        // On HTTP/2 there is more than requests.
        if !self.connection.h2 {
            let bytes = self.connection.unclaimed.load(Ordering::Relaxed);
            self.connection.stray.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = u64::try_from(buffer.filled().len().saturating_sub(before)).unwrap_or(0);
        self.connection.unclaimed.fetch_add(read, Ordering::Relaxed);
        if read > 0 && self.connection.first_byte_ns.load(Ordering::Relaxed) == 0 {
            self.connection.first_byte_ns.store(monotonic_ns(), Ordering::Relaxed);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = self.cut(bytes);
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.connection.split.load(Ordering::Relaxed) == usize::MAX {
            return Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        }
        let first: &[u8] = slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
