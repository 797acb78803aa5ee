//! A request to an unknown host comes in; whether it has the form of a call to a language model goes out.

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::anthropic;
use crate::provider::bedrock;
use crate::provider::gemini;
use crate::provider::grpc;
use crate::provider::openai;
use crate::provider::request::Asked;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::target::Target;

/// Name of a provider that is not in the catalogue.
pub(super) const NAME: &str = "unlisted";

/// The route by the path alone; the body must agree (`agrees`) before it counts.
pub(super) fn candidate(method: Method, target: &Target) -> Option<Route> {
    if method == Method::Read {
        return None;
    }
    if target.is_unknown() {
        return Some(Route::new(Operation::Chat, Shape::Guess));
    }
    let path = &target.segments();
    let of_path = || match path.as_slice() {
        [.., "api", "chat"] => Some(Route::new(Operation::Chat, Shape::Ollama)),
        [.., "api", "generate"] => Some(Route::new(Operation::TextCompletion, Shape::Ollama)),
        [.., "api", "embed"] => Some(Route::new(Operation::Embeddings, Shape::Ollama)),
        [.., "model", _, _] => bedrock::route(method, path),
        _ => openai::route(method, path, Dialect::Standard)
            .or_else(|| anthropic::route(method, path))
            .or_else(|| gemini::route(method, path).filter(|route| route.model.is_some())),
    };
    let found = grpc::route(method, path).or_else(of_path);
    let mut route = found.filter(|route| is_inference(route.operation))?;
    let deployment = path.iter().position(|segment| *segment == "deployments");
    if let Some(name) = deployment.and_then(|at| path.get(at.checked_add(1)?)) {
        route.model = Some((*name).to_owned());
    }
    Some(route)
}

/// Whether the body names a model (or the path did) and has something for it to read.
pub(super) fn agrees(asked: &Asked, path_model: bool) -> bool {
    asked.has_input && (asked.model.is_some() || path_model)
}

fn is_inference(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Chat
            | Operation::TextCompletion
            | Operation::Embeddings
            | Operation::ImageGeneration
            | Operation::Speech
            | Operation::Rerank
            | Operation::CountTokens
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_paths_of_known_apis_are_candidates() {
        const CASES: &[(&str, Option<Operation>)] = &[
            ("/v1/chat/completions", Some(Operation::Chat)),
            ("/gateway/team-a/v1/messages", Some(Operation::Chat)),
            ("/v1/threads/thread_1/messages", None),
            ("/api/generate", Some(Operation::TextCompletion)),
            ("/openai/deployments/d/embeddings?api-version=1", Some(Operation::Embeddings)),
            ("/v1beta/models/gemini-x:generateContent", Some(Operation::Chat)),
            ("/model/m/converse", Some(Operation::Chat)),
            ("/xai_api.Chat/GetCompletion", Some(Operation::Chat)),
            ("/xai_api.Models/ListLanguageModels", None),
            ("/other_api.Chat/GetCompletion", None),
            ("/v1/files", None),
            ("/index.html", None),
        ];
        for (path, expected) in CASES {
            let found = candidate(Method::Write, &Target::new(path.as_bytes()));
            assert_eq!(found.map(|route| route.operation), *expected, "{path}");
        }
    }

    #[test]
    fn reading_is_no_candidate() {
        assert_eq!(candidate(Method::Read, &Target::new(b"/v1/chat/completions")), None);
    }
}
