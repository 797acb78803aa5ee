//! Rows of the operator and of policy documents come in, again whenever they change; the catalogue of now goes out to every thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;

use crate::bpf::NameMap;
use crate::config::Capture;
use crate::config::Config;
use crate::provider::Catalogue;
use crate::provider::catalogue::Local;

use super::{policies, setup};

/// The catalogue that every thread asks, and the names that the kernel half knows by it.
pub(super) struct Catalogues {
    /// File of the operator's own rows; empty where there is none.
    rows: PathBuf,
    /// Its hosts show intent as well.
    capture: Capture,
    current: Mutex<Current>,
    /// The names in the kernel half.
    announced: Mutex<Option<NameMap>>,
}

struct Current {
    catalogue: Arc<Catalogue>,
    /// What it was made of.
    text: String,
    local: Vec<Local>,
}

impl Catalogues {
    /// Reads the rows; what policy documents add comes with a renewal.
    pub(super) fn new(rows: &Path, capture: &Capture) -> anyhow::Result<Self> {
        let current = Current::of(setup::read_optional(rows)?, &[])?;
        let (current, announced) = (Mutex::new(current), Mutex::new(None));
        Ok(Self { rows: rows.to_owned(), capture: capture.clone(), current, announced })
    }

    /// The catalogue of now.
    pub(super) fn now(&self) -> Arc<Catalogue> {
        Arc::clone(&self.current().catalogue)
    }

    /// Whether a name is an AI provider's, by the catalogue or by the configuration.
    pub(super) fn is_ai(&self, name: &str) -> bool {
        self.now().find(name).is_some() || self.capture.is_intent_host(name)
    }

    /// Whether what the kernel half takes for AI by its name is: also where the name is not known here.
    pub(super) fn confirms(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.is_ai(name))
    }

    /// Whether the catalogue of now has the providers that policy documents add.
    pub(super) fn holds(&self, local: &[Local]) -> bool {
        self.current().local == local
    }

    /// The file whose change changes the catalogue, where there is one.
    pub(super) fn rows(&self) -> Option<&Path> {
        Some(&*self.rows).filter(|rows| !rows.as_os_str().is_empty())
    }

    /// Tells the kernel half which names are AI providers', now and after every renewal.
    pub(super) fn announce(&self, mut map: NameMap) -> anyhow::Result<()> {
        self.tell(&mut map, &self.now())?;
        *self.announced() = Some(map);
        Ok(())
    }

    fn tell(&self, map: &mut NameMap, catalogue: &Catalogue) -> anyhow::Result<()> {
        let hosts = catalogue.ai_hosts().map(|host| host.pattern);
        let names: Vec<_> =
            hosts.chain(self.capture.intent_hosts.iter().map(String::as_str)).collect();
        map.hold(&names).context("telling the kernel half which names are AI providers'")
    }

    /// Reads the rows again and adds those of policy documents. Rows that are refused leave those before in their place.
    pub(super) fn renew(&self, local: &[Local]) -> anyhow::Result<()> {
        let read = setup::read_optional(&self.rows);
        let mut current = self.current();
        let next = read.and_then(|text| {
            if current.text == text && current.local == local {
                return Ok(None);
            }
            Current::of(text, local).map(Some)
        });
        let (next, outcome) = match next {
            Ok(next) => (next, Ok(())),
            Err(error) if current.local == local => (None, Err(error)),
            Err(error) => (Some(Current::of(current.text.clone(), local)?), Err(error)),
        };
        let Some(next) = next else { return outcome };
        if let Some(map) = &mut *self.announced() {
            self.tell(map, &next.catalogue)?;
            let providers = next.catalogue.providers().len();
            tracing::info!(providers, "the catalogue has changed");
        }
        *current = next;
        outcome
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announced(&self) -> MutexGuard<'_, Option<NameMap>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue as the configuration has it, for a command that asks no agent; and what of it was refused, and is left out.
pub(super) fn configured(config: &Config) -> anyhow::Result<(Catalogue, Vec<String>)> {
    let mut refused = Vec::new();
    let mut local = Vec::new();
    if !config.policy.folder.as_os_str().is_empty() {
        match policies::read(&config.policy.folder) {
            Ok(set) => local = set.providers().to_vec(),
            Err(problem) => refused.push(problem),
        }
    }
    let text = setup::read_optional(&config.files.providers).unwrap_or_else(|error| {
        refused.push(super::chain(&*error));
        String::new()
    });
    let none: &[Local] = &[];
    // What cannot be joined is left out: an emergency stop works whatever documents and rows say.
    for (text, local) in [(&*text, &*local), ("", &*local), (&*text, none)] {
        match Catalogue::with_local(text, local) {
            Ok(catalogue) => return Ok((catalogue, refused)),
            Err(error) => {
                let why = super::chain(&error);
                if !refused.contains(&why) {
                    refused.push(why);
                }
            }
        }
    }
    Ok((Catalogue::bundled()?, refused))
}

impl Current {
    fn of(text: String, local: &[Local]) -> anyhow::Result<Self> {
        let catalogue = Arc::new(Catalogue::with_local(&text, local)?);
        Ok(Self { catalogue, text, local: local.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(host: &str) -> Local {
        Local { name: "own".to_owned(), hosts: vec![host.to_owned()], ..Local::default() }
    }

    #[test]
    fn command_knows_the_rows_and_documents_of_the_configuration_and_does_without_bad_ones() {
        const GATEWAY: &str = "apiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: gateway}\nspec: {hosts: [gw.corp.example]}\n";
        const ROW: &str = "[[provider]]\nid = \"corp\"\ncategory = \"gateway\"\nhosts = [\"llm.corp.example\"]\nsource = \"s\"\nchecked = 2026-11-28\n";
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.files.providers = folder.path().join("providers.toml");
        config.policy.folder = folder.path().join("policies");
        std::fs::create_dir(&config.policy.folder).unwrap();
        let document = config.policy.folder.join("gateway.yaml");
        let known = |config: &Config| {
            let (catalogue, refused) = configured(config).unwrap();
            let has = |id| catalogue.providers().iter().any(|row| row.id == id);
            (["openai", "corp", "gateway"].map(has), refused.len())
        };
        std::fs::write(&config.files.providers, ROW).unwrap();
        std::fs::write(&document, GATEWAY).unwrap();
        assert_eq!(known(&config), ([true, true, true], 0));
        std::fs::write(&document, "kind: Nothing").unwrap();
        assert_eq!(known(&config), ([true, true, false], 1));
        std::fs::write(&config.files.providers, "[[provider").unwrap();
        assert_eq!(known(&config), ([true, false, false], 2));
        assert_eq!(known(&Config::default()), ([true, false, false], 0));
        // Right by itself, and in contradiction to what is known.
        let contradiction = GATEWAY
            .replace("{name: gateway}", "{name: openai}")
            .replace("spec: {", "spec: {category: gateway, ");
        std::fs::write(&document, contradiction).unwrap();
        assert_eq!(known(&config), ([true, false, false], 2));
        std::fs::write(&config.files.providers, ROW).unwrap();
        assert_eq!(known(&config), ([true, true, false], 1));
    }

    #[test]
    fn kernel_is_confirmed_by_the_catalogue_where_the_name_is_known() {
        let intent_hosts = vec!["*.llm.corp.example".to_owned()];
        let capture = Capture { intent_hosts, ..Capture::default() };
        let catalogues = Catalogues::new(Path::new(""), &capture).unwrap();
        for (name, is_ai) in [
            (None, true),
            (Some("a.llm.corp.example"), true),
            (Some("bedrock-runtime.us-east-1.amazonaws.com"), true),
            (Some("runtime.sagemaker.us-east-1.amazonaws.com"), true),
            (Some("runtime.lex.us-east-1.amazonaws.com"), false),
        ] {
            assert_eq!(catalogues.confirms(name), is_ai, "{name:?}");
        }
    }

    #[test]
    fn rows_that_change_change_the_catalogue_and_bad_ones_leave_it() {
        let folder = tempfile::tempdir().unwrap();
        let rows = folder.path().join("providers.toml");
        let row = |host: &str| {
            format!(
                "[[provider]]\nid = \"corp\"\ncategory = \"gateway\"\nhosts = [{host:?}]\nsource = \"s\"\nchecked = 2026-11-28\n"
            )
        };
        std::fs::write(&rows, row("llm.corp.example")).unwrap();
        let catalogues = Catalogues::new(&rows, &Capture::default()).unwrap();
        let finds = |host: &str| catalogues.now().find(host).is_some();
        assert!(finds("llm.corp.example") && finds("api.openai.com") && !finds("gw.own.example"));
        let before = catalogues.now();

        catalogues.renew(&[]).unwrap();
        assert!(Arc::ptr_eq(&before, &catalogues.now()), "nothing has changed");

        catalogues.renew(&[own("gw.own.example")]).unwrap();
        assert!(finds("gw.own.example") && finds("llm.corp.example"));

        std::fs::write(&rows, "[[provider").unwrap();
        let error = catalogues.renew(&[own("gw2.own.example")]).unwrap_err();
        assert!(error.to_string().contains("override"), "{error}");
        assert!(finds("llm.corp.example") && finds("gw2.own.example") && !finds("gw.own.example"));

        std::fs::write(&rows, row("ai.corp.example")).unwrap();
        catalogues.renew(&[]).unwrap();
        assert!(
            finds("ai.corp.example") && !finds("llm.corp.example") && !finds("gw2.own.example")
        );
    }
}
