//! Questions as messages go out over a Unix socket; answers, or a stream of them, come in, each within a bound of bytes and time.

use std::future::Future;
use std::path::Path;

use prost::Message;
use tokio::time::timeout;
use tonic::Request;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::ANSWER_MAX;
use super::Error;

/// The header by which containerd is told whose containers are meant.
const NAMESPACE: &str = "containerd-namespace";

/// A connection to a runtime.
#[derive(Clone, Debug)]
pub(super) struct Client(Channel);

impl Client {
    /// Connects to a socket.
    pub(super) async fn connect(socket: &Path) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| Error::Connect(error.into()))?;
        let channel = in_time("connect", endpoint.connect()).await?;
        channel.map(Self).map_err(|error| Error::Connect(error.into()))
    }

    /// Asks one question, within a containerd namespace or none; an answer of more than `bytes_max` is refused.
    pub(super) async fn ask<Q, A>(
        &self,
        path: &str,
        question: Q,
        (namespace, bytes_max): (&str, usize),
    ) -> Result<A, Error>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let (mut grpc, request, at) = self.prepare(path, question, namespace)?;
        grpc = grpc.max_decoding_message_size(bytes_max);
        let asked = async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(request, at, ProstCodec::<Q, A>::default()).await
        };
        let answer = in_time(path, asked).await?;
        answer.map(tonic::Response::into_inner).map_err(|status| refused(path, status))
    }

    /// Asks for a stream. A runtime may answer with nothing at all until there is something to say.
    pub(super) async fn listen<Q, A>(
        &self,
        path: &str,
        question: Q,
        bytes_max: usize,
    ) -> Result<tonic::Streaming<A>, Error>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let (grpc, request, at) = self.prepare(path, question, "")?;
        let mut grpc = grpc.max_decoding_message_size(bytes_max);
        grpc.ready().await.map_err(|error| Error::Connect(error.into()))?;
        let answer = grpc.server_streaming(request, at, ProstCodec::<Q, A>::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refused(path, status))
    }

    fn prepare<Q>(
        &self,
        path: &str,
        question: Q,
        namespace: &str,
    ) -> Result<(Grpc<Channel>, Request<Q>, PathAndQuery), Error> {
        let broken = |error: &dyn std::fmt::Display| Error::Broken(error.to_string());
        let at = PathAndQuery::try_from(path).map_err(|error| broken(&error))?;
        let mut request = Request::new(question);
        if !namespace.is_empty() {
            let value = MetadataValue::try_from(namespace).map_err(|error| broken(&error))?;
            request.metadata_mut().insert(NAMESPACE, value);
        }
        Ok((Grpc::new(self.0.clone()), request, at))
    }
}

fn refused(path: &str, status: Status) -> Error {
    Error::Refused { what: path.to_owned(), source: Box::new(status) }
}

/// Waits for an answer no longer than for any.
pub(super) async fn in_time<T>(what: &str, answer: impl Future<Output = T>) -> Result<T, Error> {
    timeout(ANSWER_MAX, answer).await.map_err(|_late| Error::Slow(what.to_owned()))
}

impl Error {
    /// Whether the runtime does not know what was asked of it.
    pub(super) fn is_unimplemented(&self) -> bool {
        self.code() == Some(tonic::Code::Unimplemented)
    }

    /// Whether it is the question that was refused, by a runtime that goes on answering others.
    pub(super) fn is_about_question(&self) -> bool {
        use tonic::Code;
        let gone = [Code::Unavailable, Code::Cancelled, Code::Unknown];
        self.code().is_some_and(|code| !gone.contains(&code))
    }

    /// Whether what was asked about is not there.
    pub(super) fn is_not_found(&self) -> bool {
        self.code() == Some(tonic::Code::NotFound)
    }

    /// Whether the answer is longer than is read.
    pub(super) fn is_too_long(&self) -> bool {
        matches!(self.code(), Some(tonic::Code::OutOfRange | tonic::Code::ResourceExhausted))
    }

    fn code(&self) -> Option<tonic::Code> {
        match self {
            Self::Refused { source, .. } => Some(source.code()),
            _ => None,
        }
    }
}
