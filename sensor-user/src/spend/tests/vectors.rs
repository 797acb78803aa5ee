//! The cost vectors of the corpus come in; every one is priced to the last digit.

use serde_json::Value;

use super::PRICES;
use super::read::read;
use super::usd;
use crate::provider::PriceContext;
use crate::provider::UsageQuality;
use crate::spend::Basis;
use crate::spend::Gap;
use crate::spend::Query;

const VECTORS: &str = include_str!("../../../../tests/corpus/cost_vectors.json");

#[test]
fn every_cost_vector_is_exact() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = document["vectors"].as_array().unwrap();
    assert_eq!(document["meta"]["count"], vectors.len());
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap();
        let body = &vector["response_body"];
        let (operation, response_model, usage) = read(text("provider"), text("flavor"), body);
        let context = PriceContext {
            service_tier: vector["context"]["service_tier"].as_str().map(str::to_owned),
            ..PriceContext::default()
        };
        let at: jiff::Timestamp = text("at").parse().unwrap();
        let cost = PRICES.price(&Query {
            provider: text("provider"),
            operation,
            status: Some(200),
            request_model: Some(text("model")),
            response_model: response_model.as_deref(),
            usage: &usage,
            quality: UsageQuality::Reported,
            context: &context,
            at_unix_seconds: at.as_second(),
        });
        assert_eq!(usd(&cost), text("expected_usd"), "{}", text("id"));
        let disputed = text("status") == "disputed";
        let expected = if disputed {
            (Basis::Estimated, Some(Gap::Disputed))
        } else {
            (Basis::Reported, None)
        };
        assert_eq!((cost.basis, cost.gap), expected, "{}", text("id"));
        assert_eq!(cost.table.as_deref(), Some(PRICES.id()));
    }
}
