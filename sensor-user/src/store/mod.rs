//! What was seen of each use of AI comes in; the inventory on disk goes out: which service, model and tool, by whom, since when.

pub mod policies;
mod schema;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;
use rusqlite::Row;
use rusqlite::params;
use serde::Deserialize;
use serde::Serialize;

/// Name of the database in the state folder.
pub const FILE_NAME: &str = "inventory.db";
/// Rows kept; what is new beyond them is summed under [`OTHERS`].
const ROWS_MAX: u64 = 100_000;
/// Stands for what has no row of its own.
pub const OTHERS: &str = "(others)";
/// How long a reader waits for a writer.
const BUSY: Duration = Duration::from_secs(2);
/// Pico-dollars in a millionth of a dollar.
const PICO_PER_MICRO: i128 = 1_000_000;
/// Pico-dollars in a dollar.
const PER_DOLLAR: i64 = 1_000_000_000_000;

/// What the store keeps, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the inventory of used services, models and tools is kept.
    pub inventory: bool,
    /// Days after which what was not seen again, counted from the newest sight at the latest, is forgotten; at least 1 (36500: a hundred years).
    pub retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { inventory: true, retention_days: 400 }
    }
}

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused.
    #[error("{doing} the inventory {}", path.display())]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is no database, or a broken one.
    #[error(
        "the inventory {} is damaged; what to do: start the agent again, which sets it aside and begins a new one",
        path.display()
    )]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What the database says of it.
        #[source]
        source: rusqlite::Error,
    },
    /// The file's mode could not be set.
    #[error("protecting the inventory {}", path.display())]
    Mode {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A newer agent wrote it.
    #[error(
        "the inventory {} has schema {found}, and this version knows {known}: use the newer version, or move the file away",
        path.display()
    )]
    Newer {
        /// Its file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this agent.
        known: u32,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Error::Damaged { path, source }
            }
            _ => Error::Database { doing, path, source },
        }
    }
}

/// One use of AI, as it is told apart from others; empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(default)]
pub struct Use {
    /// Provider (`openai`, …), or `unlisted`.
    pub provider: String,
    /// Kind of service, as the catalogue has it.
    pub category: String,
    /// Host that was called.
    pub host: String,
    /// Model.
    pub model: String,
    /// Program: file name of the executable.
    pub program: String,
    /// User.
    pub user: String,
    /// Container, pod or unit.
    pub place: String,
    /// Fingerprint of the key.
    pub credential: String,
    /// Hint of the key.
    pub credential_hint: String,
}

/// What was counted of a use; amounts are never negative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Figures {
    /// First sight, seconds since 1970.
    pub first_seen: i64,
    /// Last sight, seconds since 1970.
    pub last_seen: i64,
    /// Calls seen in plaintext.
    pub calls: u64,
    /// Of these, failed ones: refused, unanswered, or with an error within the answer.
    pub errors: u64,
    /// Input tokens, where known.
    pub input_tokens: u64,
    /// Output tokens, where known.
    pub output_tokens: u64,
    /// Whole dollars of the known amounts.
    pub dollars: i64,
    /// The rest of these, in 10^-12 dollars.
    pub picodollars: i64,
    /// Calls whose amount is not known.
    pub unpriced: u64,
    /// Calls whose amount is estimated.
    pub estimated: u64,
    /// Calls with missing bytes.
    pub truncated: u64,
    /// Connections that could not be read at all.
    pub opaque: u64,
    /// Connections that have ended and were seen whole.
    pub whole: u64,
    /// Connections that have ended and were seen in part.
    pub partial: u64,
    /// Bytes of plaintext that are missing of these, at most.
    pub missing_bytes: u64,
    /// Tokens that opaque connections may have carried; in no other sum.
    pub opaque_tokens: u64,
    /// What they may have cost, in millionths of a dollar; in no other sum.
    pub opaque_microdollars: u64,
    /// What policy last said of it; empty where none did.
    pub decision: String,
}

/// Whether the policies in force approve of a use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Approved {
    /// They let it pass without a word.
    Yes,
    /// They tell of it or refuse it.
    No,
    /// None is about it, or what they ask about is not known.
    #[default]
    Unknown,
}

impl Approved {
    /// The word that reports carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// One row of the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// What is used by whom.
    #[serde(flatten)]
    pub used: Use,
    /// How much.
    #[serde(flatten)]
    pub figures: Figures,
    /// Whether the policies in force approve of it. It is not kept: whoever answers for the inventory says it.
    #[serde(default)]
    pub approved: Approved,
}

impl Figures {
    /// Adds a known amount; a sum that does not fit stays at its bound.
    pub fn add_amount(&mut self, picodollars: i64) {
        let sum = self.picodollars.saturating_add(picodollars.max(0));
        self.dollars = self.dollars.saturating_add(sum.checked_div(PER_DOLLAR).unwrap_or(0));
        self.picodollars = sum.checked_rem(PER_DOLLAR).unwrap_or(0);
    }

    /// Connections that have ended, and in a hundred of them those that were seen whole; none where none has ended.
    pub fn coverage(&self) -> Option<(u64, u64)> {
        let all = self.whole.saturating_add(self.partial).saturating_add(self.opaque);
        Some((all, self.whole.saturating_mul(100).checked_div(all)?))
    }

    /// The known amounts in pico-dollars.
    pub fn amount(&self) -> i128 {
        i128::from(self.dollars)
            .saturating_mul(i128::from(PER_DOLLAR))
            .saturating_add(i128::from(self.picodollars))
    }

    /// What opaque connections may have cost, in pico-dollars.
    pub fn opaque_amount(&self) -> i128 {
        i128::from(self.opaque_microdollars).saturating_mul(PICO_PER_MICRO)
    }

    /// Adds the figures of another row, or of a later time.
    pub fn add(&mut self, other: &Self) {
        let earlier = [self.first_seen, other.first_seen].into_iter().filter(|at| *at != 0).min();
        self.first_seen = earlier.unwrap_or(0);
        if other.last_seen >= self.last_seen {
            self.last_seen = other.last_seen;
            if !other.decision.is_empty() {
                self.decision.clone_from(&other.decision);
            }
        }
        for (sum, more) in [
            (&mut self.calls, other.calls),
            (&mut self.errors, other.errors),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.unpriced, other.unpriced),
            (&mut self.estimated, other.estimated),
            (&mut self.truncated, other.truncated),
            (&mut self.opaque, other.opaque),
            (&mut self.whole, other.whole),
            (&mut self.partial, other.partial),
            (&mut self.missing_bytes, other.missing_bytes),
            (&mut self.opaque_tokens, other.opaque_tokens),
            (&mut self.opaque_microdollars, other.opaque_microdollars),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.dollars = self.dollars.saturating_add(other.dollars);
        self.add_amount(other.picodollars);
    }
}

/// The inventory on disk.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    rows: u64,
}

impl Store {
    /// Opens the database of the state folder, made at first use with mode 0600.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let connection = Connection::open(&path).map_err(failed("opening", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(|source| Error::Mode { path: path.clone(), source })?;
        connection.busy_timeout(BUSY).map_err(failed("opening", &path))?;
        schema::prepare(&connection, &path)?;
        schema::check(&connection, &path)?;
        let rows = count(&connection, &path)?;
        Ok(Self { connection, path, rows })
    }

    /// Opens the database for reading beside a running agent.
    pub fn open_to_read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&path, flags).map_err(failed("opening", &path))?;
        connection.busy_timeout(BUSY).map_err(failed("opening", &path))?;
        Ok(Self { connection, path, rows: 0 })
    }

    /// Renames the database of the state folder, and what `SQLite` keeps beside it, to names that end in `mark`; says where
    /// the database is then.
    pub fn set_aside(folder: &Path, mark: &str) -> io::Result<PathBuf> {
        // The log goes first: a new database must never find the old one's.
        for kept in ["-wal", "-shm"] {
            let name = format!("{FILE_NAME}{kept}");
            match fs::rename(folder.join(&name), folder.join(format!("{name}{mark}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let aside = folder.join(format!("{FILE_NAME}{mark}"));
        fs::rename(folder.join(FILE_NAME), &aside).map(|()| aside)
    }

    /// Adds what was seen since the last time, all of it or nothing, but for rows that the table refuses; says how many
    /// these were.
    pub fn add(&mut self, entries: &[Entry]) -> Result<u64, Error> {
        let path = &self.path;
        let full =
            self.rows.saturating_add(u64::try_from(entries.len()).unwrap_or(u64::MAX)) > ROWS_MAX;
        let transaction = self.connection.transaction().map_err(failed("writing", path))?;
        let mut refused = 0_u64;
        for entry in entries {
            let known = !full
                || schema::knows(&transaction, &entry.used).map_err(failed("reading", path))?;
            let put = if known {
                schema::put(&transaction, entry)
            } else {
                let folded = Entry {
                    used: folded(&entry.used),
                    figures: entry.figures.clone(),
                    approved: Approved::Unknown,
                };
                schema::put(&transaction, &folded)
            };
            match put {
                // It would be refused at every later try too, and the others with it.
                Err(error) if schema::refuses_row(&error) => refused = refused.saturating_add(1),
                put => put.map_err(failed("writing", path))?,
            }
        }
        transaction.commit().map_err(failed("writing", path))?;
        self.rows = count(&self.connection, path)?;
        Ok(refused)
    }

    /// Forgets what was not seen again for `keep` seconds before `now` (seconds since 1970); says how many rows that were.
    /// `now` is at most the newest sight: a wall clock that jumps ahead forgets nothing before something is seen then.
    pub fn forget(&mut self, now: i64, keep: i64) -> Result<usize, Error> {
        let gone = self
            .connection
            .execute(schema::FORGET, params![now, keep])
            .map_err(failed("pruning", &self.path))?;
        self.rows = count(&self.connection, &self.path)?;
        Ok(gone)
    }

    /// Everything seen since a time (seconds since 1970), dearest first.
    pub fn entries(&self, since: i64) -> Result<Vec<Entry>, Error> {
        let path = &self.path;
        let mut statement =
            self.connection.prepare(schema::SELECT).map_err(failed("reading", path))?;
        let rows = statement
            .query_map(params![since], |row: &Row<'_>| schema::entry(row))
            .map_err(failed("reading", path))?;
        rows.collect::<Result<_, _>>().map_err(failed("reading", path))
    }
}

/// Provider and kind stay, the rest is summed.
fn folded(used: &Use) -> Use {
    let others = || OTHERS.to_owned();
    Use {
        provider: used.provider.clone(),
        category: used.category.clone(),
        host: others(),
        model: others(),
        program: others(),
        user: others(),
        place: others(),
        ..Use::default()
    }
}

fn count(connection: &Connection, path: &Path) -> Result<u64, Error> {
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM inventory", [], |row| row.get(0))
        .map_err(failed("reading", path))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

#[cfg(test)]
mod tests;
