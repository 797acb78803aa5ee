//! The bundled rows come in; that they are whole, cited and replaceable is checked.

use super::Call;
use super::PRICES;
use super::tokens;
use super::usd;
use crate::provider::Catalogue;
use crate::provider::catalogue::Local;
use crate::spend::Basis;
use crate::spend::Prices;
use crate::spend::prices::BUNDLED_OVERRIDES;

#[test]
fn bundled_table_is_whole() {
    assert_eq!(PRICES.table().models().count(), 2266);
    assert!(PRICES.id().starts_with("genai-prices-0.2.1@2026-10-30#"), "{}", PRICES.id());
    for (provider, model) in PRICES.table().models() {
        let name = model.sample_name();
        assert!(PRICES.table().find(provider, &name).is_some(), "{provider} {name}");
    }
}

#[test]
fn every_correction_is_cited_and_dated() {
    let document: toml::Table = BUNDLED_OVERRIDES.parse().unwrap();
    for (kind, rows) in &document {
        for row in rows.as_array().unwrap() {
            assert!(
                row.get("source").is_some_and(|source| !source.as_str().unwrap().is_empty()),
                "{kind} {row}"
            );
            assert!(row.get("checked").is_some(), "{kind} {row}");
        }
    }
}

#[test]
fn a_users_rows_go_over_all() {
    let mine = "[[price]]\nprovider = 'openai'\nmodels = ['gpt-6-sol']\nrates = 'input=1 output=1'\n\
        [[price]]\nprovider = 'inhouse'\nmodels = ['*']\nrates = 'input=0.5'\n\
        [[factor]]\nprovider = 'anthropic'\nwhen = ['geo=us']\nfactor = '1/1'\n\
        [[factor]]\nprovider = 'groq'\nwhen = ['always']\nfactor = '9/10'\n";
    let prices = Prices::bundled().unwrap().with_overrides(mine).unwrap();
    assert_ne!(prices.id(), PRICES.id());
    let mut american = Call::chat("anthropic", "claude-opus-5-5", tokens(1_000_000, 0));
    american.context.geo = Some("us".to_owned());
    let cases = [
        (Call::chat("openai", "gpt-6-sol", tokens(1_000_000, 1_000_000)), "2"),
        (Call::chat("inhouse", "anything", tokens(1_000_000, 5)), "0.5"),
        (american, "4"),
        (Call::chat("groq", "llama-3.3-70b-versatile", tokens(1_000_000, 0)), "0.531"),
    ];
    for (call, dollars) in cases {
        assert_eq!(usd(&call.cost_by(&prices)), dollars, "{:?}", call.request_model);
    }
}

#[test]
fn ollama_is_free_on_ones_own_machines_only() {
    let hosts = vec!["llm.corp.example".to_owned()];
    let own = Local { name: "ollama".to_owned(), hosts, ..Local::default() };
    let catalogue = Catalogue::with_local("", &[own]).unwrap();
    for (host, basis, dollars) in [
        ("llm.corp.example:11434", Basis::Reported, "0"),
        ("ollama.ai-team.svc.cluster.local:11434", Basis::Reported, "0"),
        ("ollama.local:11434", Basis::Reported, "0"),
        ("ollama.com", Basis::Unknown, "unknown"),
        ("api.ollama.com", Basis::Unknown, "unknown"),
    ] {
        let provider = catalogue.find(host).unwrap();
        let cost = Call::chat(&provider.price, "gpt-oss:120b", tokens(1000, 1000)).cost();
        assert_eq!((cost.basis, usd(&cost).as_str()), (basis, dollars), "{host}");
        assert_eq!((&*provider.name, provider.routes.len()), ("ollama", 3), "{host}");
    }
}

#[test]
fn errors_of_a_users_file_name_the_line() {
    let error = Prices::bundled()
        .unwrap()
        .with_overrides("[[price]]\nprovider = 'x'\nmodel = 'y'\n")
        .unwrap_err();
    assert!(
        error.to_string().starts_with("reading price overrides, line 3: unknown field `model`"),
        "{error}"
    );
}
