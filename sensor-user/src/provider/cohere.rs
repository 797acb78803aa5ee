//! Paths and usage objects of the Cohere API come in; operations and billed units go out.

use serde_json::Value;

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::Usage;
use crate::provider::openai;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::usage::Reading;
use crate::provider::usage::count;

/// Finds the operation by the last segments of a path; `None` where the path is none of the API.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let operation = match path {
        [.., "v1" | "v2", "chat"] => Operation::Chat,
        [.., "v1", "generate"] => Operation::TextCompletion,
        [.., "v1" | "v2", "embed"] => Operation::Embeddings,
        [.., "v1" | "v2", "rerank"] => Operation::Rerank,
        [.., "v1", "tokenize" | "detokenize"] => {
            return Some(Route::new(Operation::CountTokens, Shape::None));
        }
        _ => return openai::route(method, path, Dialect::Standard),
    };
    Some(Route::new(operation, Shape::Cohere))
}

/// Reads `billed_units`; the raw `tokens` count template text that is not billed.
pub(super) fn usage(usage: &Value) -> Reading {
    let billed = usage.get("billed_units").unwrap_or(usage);
    let input = count(billed, "input_tokens");
    let usage = Usage {
        input_uncached: input,
        // Embeddings have no output; a chat always says how much it was.
        output: count(billed, "output_tokens").or_else(|| input.map(|_| 0)),
        input_image: count(billed, "image_tokens"),
        search_units: count(billed, "search_units"),
        ..Usage::default()
    };
    Reading { usage, ..Reading::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::usage::extract;

    #[test]
    fn only_billed_units_count() {
        let chat = json!({"usage": {"billed_units": {"input_tokens": 500, "output_tokens": 100},
            "tokens": {"input_tokens": 700, "output_tokens": 110}}});
        let usage = extract(Shape::Cohere, &chat).0;
        assert_eq!((usage.input_uncached, usage.output), (Some(500), Some(100)));
        let doubles =
            json!({"usage": {"billed_units": {"input_tokens": 500.0, "output_tokens": 1e2}}});
        let usage = extract(Shape::Cohere, &doubles).0;
        assert_eq!((usage.input_uncached, usage.output), (Some(500), Some(100)));
        let rerank = json!({"results": [], "meta": {"billed_units": {"search_units": 2}}});
        let usage = extract(Shape::Cohere, &rerank).0;
        assert_eq!((usage.search_units, usage.input_uncached), (Some(2), None));
    }
}
