//! The name of a file in force comes in; it is opened in an editor, checked, compared, and put into force as a new version.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use jiff::Timestamp;
use similar::TextDiff;

use crate::cli::Output;
use crate::cli::policy::DEFAULT_FOLDER;
use crate::cli::policy::changes;
use crate::cli::policy::judge::ensure_some;
use crate::cli::policy::judge::read;
use crate::cli::policy::known::Known;
use crate::cli::policy::versions::bare;
use crate::cli::policy::versions::in_force;
use crate::cli::policy::versions::put;
use crate::config::Config;
use crate::policy::Engine;
use crate::policy::Set;
use crate::policy::Source;
use crate::report::escape;
use crate::store::policies as store;

/// What is run where neither `VISUAL` nor `EDITOR` says what.
const EDITOR: &str = "vi";
/// Lines shown around each change.
const CONTEXT_LINES: usize = 3;
/// Names tried for a draft.
const DRAFTS_MAX: usize = 1_000;

/// Options of `tollgate policy edit`.
#[derive(Clone, Debug, Args)]
pub struct Edit {
    /// Name of the file or policy; it may be left out where there is only one file.
    pub name: Option<String>,
    /// Folder that keeps the versions.
    #[arg(long, default_value = DEFAULT_FOLDER)]
    pub folder: PathBuf,
    /// Begin with the text of this file instead of the one in force, as after an edit that was refused.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// File of recorded events to compare decisions on; without it, what the inventory has seen.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Configuration file of the agent; it says where the inventory is, and which providers are known.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Command that edits a file; without it, what `VISUAL` or `EDITOR` says.
    #[arg(long, value_name = "COMMAND")]
    pub editor: Option<String>,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// What becomes of a draft.
enum End {
    /// What it says is in force, or says nothing new.
    Done,
    /// It stays; whether it could be put into force.
    Kept {
        /// Whether it is right.
        is_right: bool,
    },
}

/// The file that is edited; it stays until what it says is in force, or nothing was changed.
struct Draft {
    path: PathBuf,
}

impl Edit {
    /// Edits one file. False: what was written is not right.
    pub(super) fn run(&self, out: &mut dyn Write, now: Timestamp) -> anyhow::Result<bool> {
        let sources = in_force(&self.folder)?;
        let (at, old) = self.choose(&sources)?;
        let begun = match &self.from {
            Some(path) => {
                fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
            }
            None => old.text.clone(),
        };
        let draft = Draft::new(bare(&old.file), &begun)?;
        match self.finish(&draft, (&sources, at), (out, now)) {
            Ok(End::Done) => draft.remove().map(|()| true),
            Ok(End::Kept { is_right }) => {
                writeln!(out, "{}", draft.kept(self))?;
                Ok(is_right)
            }
            Err(error) => Err(error.context(draft.kept(self))),
        }
    }

    /// All that follows once there is a draft: whatever goes wrong, it is kept.
    fn finish(
        &self,
        draft: &Draft,
        (sources, at): (&[Source], usize),
        (out, now): (&mut dyn Write, Timestamp),
    ) -> anyhow::Result<End> {
        self.open(draft)?;
        let edited = draft.read()?;
        let mut new = sources.to_vec();
        let Some(place) = new.get_mut(at) else { return Ok(End::Done) };
        let old = std::mem::replace(place, edited.clone());
        if edited.text == old.text {
            writeln!(out, "nothing was changed")?;
            return Ok(End::Done);
        }
        let known = Known::read(self.config.as_deref())?;
        let Some(set) = read(&new, &known, Output::Text, (out, now))? else {
            return Ok(End::Kept { is_right: false });
        };
        ensure_some(set.documents(), std::slice::from_ref(&self.folder))?;
        let name = bare(&old.file);
        let diff = TextDiff::from_lines(&old.text, &edited.text);
        let mut unified = diff.unified_diff();
        unified.context_radius(CONTEXT_LINES).header(&format!("{name} (in force)"), name);
        write!(out, "{}", escape::lines(&unified.to_string()))?;
        self.compare(sources, &set, (out, now))?;
        if self.dry_run {
            let (policies, rules) = (set.len(), set.rules());
            writeln!(out, "would put {policies} policies with {rules} rules into force")?;
            return Ok(End::Kept { is_right: true });
        }
        let _lock = store::History::new(&self.folder).lock()?;
        if in_force(&self.folder)? != sources {
            bail!("another version came into force meanwhile, so nothing was changed");
        }
        for (new, old) in new.iter_mut().zip(sources) {
            bare(&old.file).clone_into(&mut new.file);
        }
        put(&self.folder, &new, &set, out)?;
        Ok(End::Done)
    }

    /// The file that is meant.
    fn choose<'a>(&self, sources: &'a [Source]) -> anyhow::Result<(usize, &'a Source)> {
        let names: Vec<&str> = sources.iter().map(|source| bare(&source.file)).collect();
        let is_meant = |source: &Source, wanted: &str| {
            let name = bare(&source.file);
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            name == wanted
                || stem == wanted
                || Set::read(std::slice::from_ref(source))
                    .is_ok_and(|(set, _)| set.policies().any(|(policy, _)| policy == wanted))
        };
        let folder = self.folder.display();
        match (&self.name, sources) {
            (_, []) => bail!("no policy is in force in {folder}: `tollgate policy apply` puts one"),
            (None, [only]) => Ok((0, only)),
            (None, _) => bail!("several files are in force; name one of: {}", names.join(", ")),
            (Some(wanted), _) => {
                let found = sources.iter().enumerate().find(|(_, one)| is_meant(one, wanted));
                found.with_context(|| {
                    format!(
                        "no file or policy `{wanted}` is in force; there are: {}",
                        names.join(", ")
                    )
                })
            }
        }
    }

    /// Runs the editor and waits for it.
    fn open(&self, draft: &Draft) -> anyhow::Result<()> {
        let said = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(|value| value.to_string_lossy().into_owned())
        };
        let editor = self.editor.clone().or_else(|| said("VISUAL")).or_else(|| said("EDITOR"));
        let editor = editor.unwrap_or_else(|| EDITOR.to_owned());
        // As git does: the command may have arguments of its own.
        let status = Command::new("sh")
            .args(["-c", &format!("{editor} \"$1\""), "editor"])
            .arg(&draft.path)
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("the editor `{editor}` ended with {status}"),
            Err(error) => Err(error).context("running the editor"),
        }
    }

    /// Says for which calls that were seen the decision changes.
    fn compare(
        &self,
        old: &[Source],
        new: &Set,
        (out, now): (&mut dyn Write, Timestamp),
    ) -> anyhow::Result<()> {
        // Documents in force that are not right decide nothing.
        let old = Set::read(old).map(|(set, _)| set).unwrap_or_default();
        let engines = (&Engine::new(old), &Engine::new(new.clone()));
        if let Some(path) = &self.events {
            return changes::write(engines, &changes::recorded(path)?, Output::Text, out);
        }
        let state = Config::find(self.config.as_deref())?.files.state;
        match changes::inventory(&state, now) {
            Ok(seen) => changes::write(engines, &seen, Output::Text, out),
            Err(error) => {
                let why = format!("{error:#}");
                Ok(writeln!(out, "no decisions are compared: {}", escape::lines(&why))?)
            }
        }
    }
}

impl Draft {
    /// Writes a text into a new file that nobody else may read.
    fn new(name: &str, text: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir();
        for number in 0..DRAFTS_MAX {
            let path = folder.join(format!("tollgate-edit-{}-{number}-{name}", std::process::id()));
            let mut options = fs::OpenOptions::new();
            match options.write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(text.as_bytes())
                        .with_context(|| format!("writing {}", path.display()))?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("writing {}", path.display()));
                }
            }
        }
        bail!("{} holds {DRAFTS_MAX} drafts of this process", folder.display())
    }

    fn read(&self) -> anyhow::Result<Source> {
        let read = store::documents(std::slice::from_ref(&self.path))?;
        read.into_iter().next().context("the draft is no file of policies any more")
    }

    /// Where the text is, and how to go on with it.
    fn kept(&self, edit: &Edit) -> String {
        let path = self.path.display();
        let name = edit.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
        let folder = match edit.folder.as_path() {
            usual if usual == Path::new(DEFAULT_FOLDER) => String::new(),
            folder => format!("--folder {} ", folder.display()),
        };
        format!("your text is kept; go on with: tollgate policy edit {name}{folder}--from {path}")
    }

    fn remove(&self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}
