//! A `Provider` document comes in; a row for the catalogue, and whether the provider is approved, go out.

use std::collections::HashMap;

use crate::policy::Document;
use crate::policy::Problem;
use crate::policy::Set;
use crate::policy::compile::check_name;
use crate::policy::compile::shown;
use crate::policy::document::Api;
use crate::policy::document::At;
use crate::policy::document::Category;
use crate::policy::document::ProviderDocument;
use crate::policy::problem::Notes;
use crate::provider::catalogue;
use crate::provider::catalogue::AuthPlace;
use crate::provider::catalogue::Local;

/// Takes one document into the set; every problem is noted.
pub(super) fn add(
    file: &str,
    document: &ProviderDocument,
    set: &mut Set,
    found: &mut Vec<Problem>,
) {
    let notes = &mut Notes::new(file, found);
    let (name, spec) = (&document.metadata.name, &document.spec);
    check_name(name, notes);
    if spec.approved == Some(true) {
        set.approved.insert(name.value.clone());
    }
    let Some(hosts) = &spec.hosts else {
        if spec.approved.is_none() {
            notes.error(name, "this provider has neither `hosts` nor `approved`: it says nothing");
        }
        if spec.api.is_some() || spec.credential.is_some() || spec.category.is_some() {
            notes.error(name, "`api`, `credential` and `category` need `hosts`");
        }
        return;
    };
    if hosts.value.is_empty() {
        notes.error(hosts, "an empty list names no host");
    }
    for host in &hosts.value {
        if let Err(message) = check_host(&host.value) {
            notes.error(host, message);
        }
    }
    let auth =
        spec.credential.iter().flatten().filter_map(|place| place_of(place, notes)).collect();
    let hosts = hosts.value.iter().map(|host| host.value.to_ascii_lowercase());
    set.providers.push(Local {
        name: name.value.clone(),
        category: spec.category.as_ref().map(|category| known_category(category.value)),
        api: spec.api.as_ref().map(|api| known_api(api.value)),
        hosts: hosts.collect(),
        auth,
    });
}

/// Notes hosts that more than one document names: which provider a call goes to must not depend on their order.
pub(super) fn check_together(documents: &[(&str, Document)], found: &mut Vec<Problem>) {
    let mut first: HashMap<String, &str> = HashMap::new();
    for (file, document) in documents {
        let Document::Provider(provider) = document else { continue };
        let notes = &mut Notes::new(file, found);
        let name = &provider.metadata.name.value;
        for host in provider.spec.hosts.iter().flat_map(|hosts| &hosts.value) {
            if let Some(other) = first.insert(host.value.to_ascii_lowercase(), name) {
                let shown = (shown(&host.value), shown(other));
                let message = format!("`{}` is a host of provider `{}` already", shown.0, shown.1);
                notes.error(host, message);
            }
        }
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let named = shown(host);
    if host.contains("**") {
        return Err(format!("`{named}` holds `**`: a provider's host says which labels it has"));
    }
    let bare = host.trim_matches('.');
    if !bare.is_empty() && bare.len() < host.len() {
        return Err(format!(
            "`{named}` begins or ends with a dot, and never matches: did you mean `{}`?",
            shown(bare)
        ));
    }
    let lower = host.to_ascii_lowercase();
    // A port belongs to the connection, and a name of the cluster may have one label.
    if catalogue::is_host(&lower)
        || (!lower.contains('*') && catalogue::is_host(&format!("{lower}.x")))
    {
        return Ok(());
    }
    Err(format!("`{named}` is no host name, or its `*` covers too much"))
}

fn place_of(place: &At<String>, notes: &mut Notes<'_>) -> Option<AuthPlace> {
    let name = |name: &str| (!name.is_empty()).then(|| name.to_ascii_lowercase());
    let found = match place.value.split_once(':') {
        Some(("header", field)) => name(field).map(AuthPlace::Header),
        Some(("query", field)) => name(field).map(AuthPlace::Query),
        Some(("cookie", field)) => name(field).map(AuthPlace::Cookie),
        _ => None,
    };
    if found.is_none() {
        let message = format!(
            "`{}` is no place of a key, as header:authorization or query:key",
            shown(&place.value)
        );
        notes.error(place, message);
    }
    found
}

fn known_api(api: Api) -> catalogue::Api {
    match api {
        Api::Openai => catalogue::Api::Openai,
        Api::Azure => catalogue::Api::Azure,
        Api::Anthropic => catalogue::Api::Anthropic,
        Api::Gemini => catalogue::Api::Gemini,
        Api::Bedrock => catalogue::Api::Bedrock,
        Api::Cohere => catalogue::Api::Cohere,
        Api::None => catalogue::Api::None,
    }
}

fn known_category(category: Category) -> catalogue::Category {
    match category {
        Category::LlmApi => catalogue::Category::LlmApi,
        Category::Gateway => catalogue::Category::Gateway,
        Category::ChatApp => catalogue::Category::ChatApp,
        Category::CodingAssistant => catalogue::Category::CodingAssistant,
        Category::Speech => catalogue::Category::Speech,
        Category::Image => catalogue::Category::Image,
        Category::Vector => catalogue::Category::Vector,
        Category::AgentTool => catalogue::Category::AgentTool,
        Category::Observability => catalogue::Category::Observability,
    }
}
