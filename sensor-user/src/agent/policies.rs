//! A folder of policy documents comes in; the engine that decides by the last good ones goes out, and what is wrong with others.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::{Engine, Problem, Set};
use crate::store::policies;
use crate::store::policies::History;

use super::catalogues::Catalogues;

/// Problems that are told at once; the first few say what to do.
const PROBLEMS_MAX: usize = 8;

/// What the policies say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Policies in force.
    pub(super) policies: usize,
    /// Their rules.
    pub(super) rules: usize,
    /// How often documents came into force.
    pub(super) accepted: u64,
    /// How often documents were refused.
    pub(super) refused: u64,
    /// Why the documents in the folder are not those in force; `None` where they are.
    pub(super) problem: Option<String>,
    /// How often the operator's rows of providers were refused.
    pub(super) rows_refused: u64,
    /// Why the catalogue is not what they say; `None` where it is.
    pub(super) rows: Option<String>,
}

impl Standing {
    /// One line for people; empty where there are no policies.
    pub(super) fn text(&self) -> String {
        let force = format!("{} policies with {} rules in force", self.policies, self.rules);
        let mut text = match &self.problem {
            Some(problem) => format!("{force}; what is in the folder is refused: {problem}"),
            None if self.accepted == 0 => String::new(),
            None => force,
        };
        if let Some(problem) = &self.rows {
            let then = if text.is_empty() { "" } else { "; " };
            // Writing to a text cannot fail.
            let _written = write!(text, "{then}rows of providers are refused: {problem}");
        }
        text
    }
}

/// The policies in force, for every thread that decides.
pub(super) struct Policies {
    folder: PathBuf,
    catalogues: Arc<Catalogues>,
    engine: Arc<Mutex<Arc<Engine>>>,
    standing: Mutex<Standing>,
    /// How often the gate was told what they say.
    changes: AtomicU64,
    /// Why the gate could not be told what they say now.
    untold: Mutex<Option<String>>,
}

impl Policies {
    /// Policies of a folder that is not read yet; with an empty path there are none, ever.
    pub(super) fn new(folder: PathBuf, catalogues: Arc<Catalogues>) -> Self {
        Self {
            folder,
            catalogues,
            engine: Arc::default(),
            standing: Mutex::default(),
            changes: AtomicU64::new(0),
            untold: Mutex::default(),
        }
    }

    /// The folder, where there is one.
    pub(super) fn folder(&self) -> Option<&PathBuf> {
        Some(&self.folder).filter(|folder| !folder.as_os_str().is_empty())
    }

    /// The gate was told what they say now, or could not be.
    pub(super) fn changed(&self, untold: Option<String>) {
        *self.untold.lock().unwrap_or_else(PoisonError::into_inner) = untold;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The gate could not be told what they say of a process: until it is told anew, the node does not do what they say.
    pub(super) fn not_told(&self, why: String) {
        *self.untold.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// How often that was.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The engine of the last good documents.
    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The engine of the last good documents, also of those to come.
    pub(super) fn shared(&self) -> Arc<Mutex<Arc<Engine>>> {
        Arc::clone(&self.engine)
    }

    /// What they say of themselves.
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the node does not do what its policies say, if it does not. Documents that are refused while others are in force
    /// are told by status and metrics alone: what was in force still is.
    pub(super) fn fault(&self, enforces: bool) -> Option<String> {
        let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = untold {
            return Some(format!("policies: the gate could not be told what they say: {why}"));
        }
        self.folder()?;
        let standing = self.standing();
        if standing.accepted == 0 {
            return Some(format!("policies: {}", standing.problem.unwrap_or_default()));
        }
        if !self.catalogues.holds(self.engine().set().providers()) {
            let why = standing.rows.unwrap_or_default();
            return Some(format!("policies: the providers that they add are not known: {why}"));
        }
        let wanted = super::ruling::enforces(&self.engine());
        let off = "policies: one is in mode enforce, and enforce.enabled is off";
        (wanted && !enforces).then(|| off.to_owned())
    }

    /// Adds the providers of the documents at the start of the agent; what is wrong with them is told when they are read again.
    pub(super) fn add_providers(&self) {
        let set = self.folder().and_then(|_| self.read().ok());
        self.reload_rows(set.as_ref());
    }

    /// Reads the rows of providers again, with those of good documents or of those in force.
    pub(super) fn reload_rows(&self, set: Option<&Set>) {
        let engine = self.engine();
        let renewed = self.catalogues.renew(set.unwrap_or_else(|| engine.set()).providers());
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.rows = renewed.err().map(|error| super::chain(&*error));
        if let Some(problem) = &standing.rows {
            tracing::error!(problem, "rows of providers are refused; those before stay in force");
            standing.rows_refused = standing.rows_refused.saturating_add(1);
        }
    }

    /// Reads the folder and the rows of providers again. One bad document, or a folder that was emptied, leaves all that is in
    /// force as it is; the error says what is wrong.
    pub(super) fn reload(&self) -> Result<Arc<Engine>, String> {
        let read = self.read().and_then(|set| self.not_emptied(set));
        self.reload_rows(read.as_ref().ok());
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(set) => {
                standing.accepted = standing.accepted.saturating_add(1);
                (standing.policies, standing.rules) = (set.len(), set.rules());
                standing.problem = None;
                let engine = Arc::new(Engine::new(set));
                *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&engine);
                Ok(engine)
            }
            Err(problem) => {
                standing.refused = standing.refused.saturating_add(1);
                standing.problem = Some(problem.clone());
                Err(problem)
            }
        }
    }

    fn read(&self) -> Result<Set, String> {
        read(&self.folder)
    }

    /// Nobody means to lift every policy by a volume that was not mounted or files that were moved away.
    fn not_emptied(&self, set: Set) -> Result<Set, String> {
        if set.documents() == 0 && self.engine().set().documents() != 0 {
            let folder = self.folder.display();
            return Err(format!(
                "{folder} holds no document any more: to lift all policies, put one in mode observe in their place"
            ));
        }
        Ok(set)
    }
}

/// Reads the documents of a folder.
pub(super) fn read(folder: &Path) -> Result<Set, String> {
    // What `tollgate policy apply` keeps; a plain folder holds the documents themselves.
    let folder = History::in_force(folder);
    let sources = policies::documents(&[folder]).map_err(|error| super::chain(&error))?;
    Set::read(&sources).map(|(set, _warnings)| set).map_err(|problems| told(&problems))
}

fn told(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems.iter().take(PROBLEMS_MAX) {
        // Writing to a text cannot fail.
        let _written = writeln!(text, "{problem}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Capture;
    use crate::policy::Source;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const ONE: &str = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: one}\nspec: {mode: enforce, default: deny}\n";

    fn of(folder: &Path) -> Policies {
        Policies::new(
            folder.to_owned(),
            Arc::new(Catalogues::new(Path::new(""), &Capture::default()).unwrap()),
        )
    }

    #[test]
    fn folder_that_is_emptied_leaves_what_is_in_force_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let policies = of(folder.path());
        // Nothing was ever in force: an empty folder is what was meant.
        assert_eq!(policies.reload().unwrap().set().len(), 0);
        fs::write(folder.path().join("one.yaml"), ONE).unwrap();
        assert_eq!(policies.reload().unwrap().set().len(), 1);
        fs::remove_file(folder.path().join("one.yaml")).unwrap();
        let refused = policies.reload().unwrap_err();
        assert!(refused.contains("holds no document any more"), "{refused}");
        let standing = policies.standing();
        assert_eq!((standing.policies, standing.accepted, standing.refused), (1, 2, 1));
        assert!(standing.text().contains("what is in the folder is refused"), "{standing:?}");
        assert_eq!(policies.engine().set().len(), 1);
        fs::write(folder.path().join("one.yaml"), ONE).unwrap();
        policies.reload().unwrap();
        assert_eq!(policies.standing().problem, None);
    }

    #[test]
    fn current_version_that_is_not_there_is_refused_also_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        symlink("versions/7", folder.path().join("current")).unwrap();
        let policies = of(folder.path());
        let refused = policies.reload().unwrap_err();
        assert!(refused.contains("current"), "{refused}");
        assert!(policies.fault(true).unwrap().contains("current"));
    }

    #[test]
    fn policies_whose_providers_are_not_known_are_a_fault() {
        const GATEWAY: &str = "apiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: corp}\nspec: {hosts: [llm.corp.example]}\n";
        let catalogues = Arc::new(Catalogues::new(Path::new(""), &Capture::default()).unwrap());
        let policies = Policies::new(PathBuf::from("/policies"), Arc::clone(&catalogues));
        let source = Source { file: "corp.yaml".to_owned(), text: GATEWAY.to_owned() };
        let set = Set::read(&[source]).unwrap().0;
        let providers = set.providers().to_vec();
        *policies.engine.lock().unwrap() = Arc::new(Engine::new(set));
        policies.standing.lock().unwrap().accepted = 1;
        assert!(policies.fault(true).unwrap().contains("are not known"));
        catalogues.renew(&providers).unwrap();
        assert_eq!(policies.fault(true), None);
    }
}
