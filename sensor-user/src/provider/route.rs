//! Provider, method and path of a request come in; what the request asks for goes out.

use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::anthropic;
use crate::provider::azure;
use crate::provider::bedrock;
use crate::provider::catalogue::Api;
use crate::provider::catalogue::Provider;
use crate::provider::catalogue::glob;
use crate::provider::cohere;
use crate::provider::gemini;
use crate::provider::grpc;
use crate::provider::grpc::Rpc;
use crate::provider::openai;
use crate::provider::target::Target;

/// Whether a request can make something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `GET`, `HEAD`, `OPTIONS`, `DELETE`.
    Read,
    /// All others, and a method that could not be read.
    Write,
}

impl Method {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"GET" | b"HEAD" | b"OPTIONS" | b"DELETE" | b"TRACE" => Self::Read,
            _ => Self::Write,
        }
    }
}

/// What a request asks for, as far as its first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one path")]
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) shape: Shape,
    /// Model or deployment named in the path.
    pub(super) model: Option<String>,
    /// Region named in the path.
    pub(super) geo: Option<String>,
    /// The answer repeats figures that another answer had or will have.
    pub(super) repeated: bool,
    pub(super) batch: bool,
    /// See `PriceContext::unread`.
    pub(super) unread: bool,
    /// The path asks for a stream.
    pub(super) streamed: bool,
    /// Messages of gRPC, where the path is that of a known method.
    pub(super) rpc: Option<Rpc>,
    /// Key in the price table, where it is another than the provider's.
    pub(super) price: Option<String>,
}

impl Route {
    pub(super) fn new(operation: Operation, shape: Shape) -> Self {
        Self {
            operation,
            shape,
            model: None,
            geo: None,
            repeated: false,
            batch: false,
            unread: false,
            streamed: false,
            rpc: None,
            price: None,
        }
    }

    pub(super) fn repeated(operation: Operation, shape: Shape) -> Self {
        Self { repeated: true, ..Self::new(operation, shape) }
    }

    /// What is billed by it is told where nobody reads it.
    pub(super) fn unread(operation: Operation) -> Self {
        Self { unread: true, ..Self::new(operation, Shape::None) }
    }

    /// A stored answer is fetched or cancelled.
    pub(super) fn retrieved(shape: Shape) -> Self {
        Self::repeated(Operation::Other, shape)
    }
}

/// Finds the route of a request to a provider of the catalogue; `None` where the host carries other traffic too and
/// this is such.
pub(super) fn find(provider: &Provider, method: Method, target: &Target) -> Option<Route> {
    if target.is_unknown() {
        let route = Route::new(Operation::Other, Shape::Guess);
        return Some(Route { rpc: grpc::guessed(provider), ..route });
    }
    let ours = provider.paths.is_empty() || provider.paths.iter().any(|p| glob(p, &target.path));
    if !ours {
        return None;
    }
    let own = provider.routes.iter().find(|row| glob(&row.path, &target.path));
    if let Some(row) = own.filter(|_| method == Method::Write) {
        return Some(Route { price: row.price.clone(), ..Route::new(row.operation, row.shape) });
    }
    if let Some(route) = grpc::route(method, &target.segments()) {
        return Some(route);
    }
    let parted = || of_path(provider, method, &target.parted().segments());
    let found = of_path(provider, method, &target.segments()).or_else(parted);
    Some(found.unwrap_or_else(|| Route::new(Operation::Other, Shape::None)))
}

/// What the segments of a path ask for.
fn of_path(provider: &Provider, method: Method, path: &[&str]) -> Option<Route> {
    match provider.api {
        Api::Openai => {
            openai::route(method, path, provider.dialect).or_else(|| anthropic::route(method, path))
        }
        Api::Anthropic => {
            anthropic::route(method, path).or_else(|| openai::route(method, path, provider.dialect))
        }
        Api::Azure => azure::route(method, path),
        Api::Gemini => gemini::route(method, path),
        Api::Bedrock => bedrock::route(method, path),
        Api::Cohere => cohere::route(method, path),
        Api::None => None,
    }
}
