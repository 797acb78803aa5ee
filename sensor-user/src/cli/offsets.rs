//! The options of `tollgate offsets` come in; rows for the table of builds, or what is wrong with one, go out as text.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

use crate::probes::bare;
use crate::probes::offsets;
use crate::probes::offsets::Offsets;
use crate::probes::segments::Segments;

/// What to do with the table of builds without symbols.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum OffsetsAction {
    /// Search an executable or library without symbols and print the row for its build.
    Learn {
        /// The file.
        file: PathBuf,
        /// Program and version that the row is for; the file's name when left out.
        #[arg(long, default_value = "")]
        source: String,
    },
    /// Say whether the rows are right; with a file, whether its row finds what a search of the file finds.
    Check {
        /// The file.
        file: Option<PathBuf>,
        /// Rows to add to those that are built in.
        #[arg(long)]
        table: Option<PathBuf>,
    },
}

impl OffsetsAction {
    /// Does it; false where a row is wrong or missing, or nothing is found.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<bool> {
        match self {
            Self::Learn { file, source } => learn(file, source, out),
            Self::Check { file, table } => check(file.as_deref(), table.as_deref(), out),
        }
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

fn learn(path: &Path, source: &str, out: &mut impl Write) -> anyhow::Result<bool> {
    let file = open(path)?;
    let image = Segments::open(&file)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let source = if source.is_empty() { name.as_ref() } else { source };
    let found = bare::searched(&image);
    for found in &found {
        let how = found.carried.resolution.as_str();
        writeln!(out, "# {}, found by {how}", found.carried.library.as_str())?;
        writeln!(
            out,
            "{}",
            offsets::propose(&image, found.carried.library, &found.places, source)
        )?;
    }
    if image.build_id.is_empty() {
        writeln!(out, "# the file has no build-id: it is searched each time")?;
    }
    if found.is_empty() {
        writeln!(out, "# no TLS library is found without symbols in {}", path.display())?;
    }
    Ok(!found.is_empty() && !image.build_id.is_empty())
}

fn check(path: Option<&Path>, table: Option<&Path>, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut rows = Offsets::bundled();
    if let Some(table) = table {
        let text =
            fs::read_to_string(table).with_context(|| format!("reading {}", table.display()))?;
        rows = rows.with(&text)?;
    }
    let Some(path) = path else {
        writeln!(out, "{} rows are right", rows.len())?;
        return Ok(true);
    };
    let file = open(path)?;
    let image = Segments::open(&file)?;
    let known = bare::known(&image, &rows);
    let searched = bare::searched(&image);
    for found in &known {
        let library = found.carried.library;
        let places = |places: &[(&'static str, u64)]| {
            let mut places = places.to_vec();
            places.sort_unstable();
            places
        };
        let other = searched.iter().find(|other| other.carried.library == library);
        let agrees = other.is_some_and(|other| places(&other.places) == places(&found.places));
        let verdict = if agrees {
            "the row finds what a search finds"
        } else {
            "a search finds other places"
        };
        writeln!(out, "{}: {} places, {verdict}", library.as_str(), found.places.len())?;
        if !agrees {
            return Ok(false);
        }
    }
    if known.is_empty() {
        writeln!(out, "no row holds for build `{}` of {}", image.build_id, path.display())?;
    }
    Ok(!known.is_empty())
}
