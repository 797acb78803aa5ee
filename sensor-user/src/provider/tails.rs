//! A provider comes in; by what the path of a request ends with, and where its model stands, goes out: what the kernel can
//! tell without the rules of this module.

use crate::provider::Operation;
use crate::provider::Provider;
use crate::provider::catalogue::Api;
use crate::provider::route;
use crate::provider::route::Method;
use crate::provider::target::Target;

/// Ends of paths that may say what is asked for, with a path before each.
const TAILS: [(&str, &str); 38] = [
    ("/v1/", "chat/completions"),
    ("/v1/", "completions"),
    ("/v1/", "responses"),
    ("/v1/", "responses/compact"),
    ("/v1/", "responses/input_tokens"),
    ("/v1/", "embeddings"),
    ("/v1/", "images/generations"),
    ("/v1/", "images/edits"),
    ("/v1/", "images/variations"),
    ("/v1/", "audio/speech"),
    ("/v1/", "audio/transcriptions"),
    ("/v1/", "audio/translations"),
    ("/v1/", "moderations"),
    ("/v1/", "rerank"),
    ("/v1/", "batches"),
    ("/v1/", "files"),
    ("/v1/", "uploads"),
    ("/", "v1/messages"),
    ("/v1/", "messages/count_tokens"),
    ("/v1/", "messages/batches"),
    ("/", "v1/complete"),
    ("/", "v1/chat"),
    ("/", "v2/chat"),
    ("/", "v1/generate"),
    ("/", "v1/embed"),
    ("/", "v2/embed"),
    ("/", "v1/rerank"),
    ("/", "v2/rerank"),
    ("/v1beta/models/m", ":generateContent"),
    ("/v1beta/models/m", ":streamGenerateContent"),
    ("/v1beta/models/m", ":embedContent"),
    ("/v1beta/models/m", ":batchEmbedContents"),
    ("/v1beta/models/m", ":countTokens"),
    ("/v1beta/models/m", ":computeTokens"),
    ("/v1beta/models/m", ":batchGenerateContent"),
    ("/v1beta/", "interactions"),
    ("/model/m/", "converse"),
    ("/model/m/", "converse-stream"),
];

/// The last segments of paths, or what stands behind their last colon, that say which operation is asked for when something
/// is made. Where a provider has paths of its own with the same end, or other traffic too, the end says nothing.
pub fn tails(provider: &Provider) -> Vec<(&'static str, Operation)> {
    if !provider.paths.is_empty() {
        return Vec::new();
    }
    let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let own: Vec<_> = provider.routes.iter().map(|row| last(&row.path)).collect();
    let said = TAILS.iter().filter(|(_, tail)| !own.contains(&last(tail)));
    let found = said.filter_map(|(before, tail)| {
        let target = Target::new(format!("{before}{tail}").as_bytes());
        let route = route::find(provider, Method::Write, &target)?;
        (route.operation != Operation::Other).then_some((*tail, route.operation))
    });
    found.collect()
}

/// Whether the path of a request names its model.
pub fn names_model_in_path(provider: &Provider) -> bool {
    matches!(provider.api, Api::Azure | Api::Gemini | Api::Bedrock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Catalogue;

    #[test]
    fn each_api_has_its_own_ends_and_every_end_is_some_provider_s() {
        let catalogue = Catalogue::bundled().unwrap();
        let of = |id: &str| {
            tails(catalogue.providers().iter().find(|provider| provider.id == id).unwrap())
        };
        assert!(of("openai").contains(&("chat/completions", Operation::Chat)));
        assert!(of("openai").contains(&("completions", Operation::TextCompletion)));
        assert!(of("anthropic").contains(&("messages/count_tokens", Operation::CountTokens)));
        assert!(!of("openai").iter().any(|(tail, _)| *tail == ":generateContent"));
        let all: Vec<_> = catalogue.providers().iter().flat_map(tails).collect();
        for (_, tail) in TAILS {
            assert!(all.iter().any(|(known, _)| *known == tail), "{tail}");
        }
    }
}
