//! Rows of the inventory come in and go out as SQL; the one place that knows tables and columns.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use super::Approved;
use super::Entry;
use super::Error;
use super::Figures;
use super::Use;
use super::failed;

/// Largest figure that one write adds; less than half of what a column holds, so that no sum of two overflows.
const ADDED_MAX: i64 = 4_000_000_000_000_000_000;

/// Version of the tables, kept in the file's `user_version`.
const VERSION: u32 = 2;

const TABLES: &str = "
CREATE TABLE inventory (
    provider TEXT NOT NULL, category TEXT NOT NULL, host TEXT NOT NULL, model TEXT NOT NULL,
    program TEXT NOT NULL, user TEXT NOT NULL, place TEXT NOT NULL,
    credential TEXT NOT NULL, credential_hint TEXT NOT NULL,
    first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
    calls INTEGER NOT NULL, errors INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    dollars INTEGER NOT NULL, picodollars INTEGER NOT NULL,
    unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    truncated INTEGER NOT NULL, opaque INTEGER NOT NULL, decision TEXT NOT NULL,
    whole INTEGER NOT NULL DEFAULT 0, partial INTEGER NOT NULL DEFAULT 0,
    missing_bytes INTEGER NOT NULL DEFAULT 0,
    opaque_tokens INTEGER NOT NULL DEFAULT 0, opaque_microdollars INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, host, model, program, user, place, credential)
) WITHOUT ROWID, STRICT;
CREATE INDEX inventory_by_time ON inventory (last_seen);
";

/// What version 2 has and version 1 had not.
const SECOND: &str = "
ALTER TABLE inventory ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inventory ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inventory ADD COLUMN missing_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inventory ADD COLUMN opaque_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inventory ADD COLUMN opaque_microdollars INTEGER NOT NULL DEFAULT 0;
";

pub(super) const SELECT: &str = "
SELECT provider, category, host, model, program, user, place, credential, credential_hint,
    first_seen, last_seen, calls, errors, input_tokens, output_tokens, dollars, picodollars,
    unpriced, estimated, truncated, opaque, decision,
    whole, partial, missing_bytes, opaque_tokens, opaque_microdollars
FROM inventory WHERE last_seen >= ?1
ORDER BY dollars DESC, picodollars DESC, calls DESC, provider, host, model, program, user, place, credential
";

pub(super) const FORGET: &str = "
DELETE FROM inventory
WHERE last_seen < min(?1, (SELECT coalesce(max(last_seen), 0) FROM inventory)) - ?2
";

const KNOWN: &str = "
SELECT 1 FROM inventory WHERE provider = ?1 AND host = ?2 AND model = ?3 AND program = ?4
    AND user = ?5 AND place = ?6 AND credential = ?7
";

/// Sums stay at their bound: one that overflows becomes a real number, which the table refuses for ever after.
const PUT: &str = "
INSERT INTO inventory VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
    ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)
ON CONFLICT DO UPDATE SET
    first_seen = min(first_seen, excluded.first_seen),
    last_seen = max(last_seen, excluded.last_seen),
    calls = min(9000000000000000000 - excluded.calls, calls) + excluded.calls,
    errors = min(9000000000000000000 - excluded.errors, errors) + excluded.errors,
    input_tokens = min(9000000000000000000 - excluded.input_tokens, input_tokens) + excluded.input_tokens,
    output_tokens = min(9000000000000000000 - excluded.output_tokens, output_tokens) + excluded.output_tokens,
    dollars = min(9000000000000000000 - excluded.dollars, dollars) + excluded.dollars
        + (picodollars + excluded.picodollars) / 1000000000000,
    picodollars = (picodollars + excluded.picodollars) % 1000000000000,
    unpriced = min(9000000000000000000 - excluded.unpriced, unpriced) + excluded.unpriced,
    estimated = min(9000000000000000000 - excluded.estimated, estimated) + excluded.estimated,
    truncated = min(9000000000000000000 - excluded.truncated, truncated) + excluded.truncated,
    opaque = min(9000000000000000000 - excluded.opaque, opaque) + excluded.opaque,
    whole = min(9000000000000000000 - excluded.whole, whole) + excluded.whole,
    partial = min(9000000000000000000 - excluded.partial, partial) + excluded.partial,
    missing_bytes = min(9000000000000000000 - excluded.missing_bytes, missing_bytes) + excluded.missing_bytes,
    opaque_tokens = min(9000000000000000000 - excluded.opaque_tokens, opaque_tokens) + excluded.opaque_tokens,
    opaque_microdollars = min(9000000000000000000 - excluded.opaque_microdollars, opaque_microdollars) + excluded.opaque_microdollars,
    decision = CASE excluded.decision WHEN '' THEN decision ELSE excluded.decision END
";

/// Makes the tables of a new file, and refuses those of a newer version.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<(), Error> {
    // Readers go on while the agent writes, and a power cut loses the last second at most, never the file.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        .map_err(failed("opening", path))?;
    let found: u32 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed("reading", path))?;
    match found {
        0 => connection
            .execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"))
            .map_err(failed("making", path)),
        1 => connection
            .execute_batch(&format!("BEGIN; {SECOND} PRAGMA user_version = {VERSION}; COMMIT;"))
            .map_err(failed("renewing", path)),
        VERSION => Ok(()),
        _ => Err(Error::Newer { path: path.to_owned(), found, known: VERSION }),
    }
}

/// Looks at every page: a broken one may lie where nobody reads for weeks, and only a start sets a file aside.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(failed("reading", path))?;
    if said == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let source = rusqlite::Error::SqliteFailure(corrupt, Some(said));
    Err(Error::Damaged { path: path.to_owned(), source })
}

/// Whether a use has a row.
pub(super) fn knows(connection: &Connection, used: &Use) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(KNOWN)?;
    let key = params![
        used.provider,
        used.host,
        used.model,
        used.program,
        used.user,
        used.place,
        used.credential
    ];
    Ok(statement.query_row(key, |_row| Ok(())).optional()?.is_some())
}

/// Adds figures to the row of a use.
pub(super) fn put(connection: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let (used, figures) = (&entry.used, &entry.figures);
    connection.prepare_cached(PUT)?.execute(params![
        used.provider,
        used.category,
        used.host,
        used.model,
        used.program,
        used.user,
        used.place,
        used.credential,
        used.credential_hint,
        figures.first_seen,
        figures.last_seen,
        signed(figures.calls),
        signed(figures.errors),
        signed(figures.input_tokens),
        signed(figures.output_tokens),
        figures.dollars.clamp(0, ADDED_MAX),
        figures.picodollars,
        signed(figures.unpriced),
        signed(figures.estimated),
        signed(figures.truncated),
        signed(figures.opaque),
        figures.decision,
        signed(figures.whole),
        signed(figures.partial),
        signed(figures.missing_bytes),
        signed(figures.opaque_tokens),
        signed(figures.opaque_microdollars),
    ])?;
    Ok(())
}

/// Reads a row of [`SELECT`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let count = |at: usize| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    let used = Use {
        provider: row.get(0)?,
        category: row.get(1)?,
        host: row.get(2)?,
        model: row.get(3)?,
        program: row.get(4)?,
        user: row.get(5)?,
        place: row.get(6)?,
        credential: row.get(7)?,
        credential_hint: row.get(8)?,
    };
    let figures = Figures {
        first_seen: row.get(9)?,
        last_seen: row.get(10)?,
        calls: count(11)?,
        errors: count(12)?,
        input_tokens: count(13)?,
        output_tokens: count(14)?,
        dollars: row.get(15)?,
        picodollars: row.get(16)?,
        unpriced: count(17)?,
        estimated: count(18)?,
        truncated: count(19)?,
        opaque: count(20)?,
        decision: row.get(21)?,
        whole: count(22)?,
        partial: count(23)?,
        missing_bytes: count(24)?,
        opaque_tokens: count(25)?,
        opaque_microdollars: count(26)?,
    };
    Ok(Entry { used, figures, approved: Approved::Unknown })
}

/// Counts are stored as signed numbers; what peers say of them may come near the bound.
fn signed(count: u64) -> i64 {
    i64::try_from(count).map_or(ADDED_MAX, |count| count.min(ADDED_MAX))
}

/// Whether the table refuses a row for what it holds: nothing is wrong with the disk, nor with other rows.
pub(super) fn refuses_row(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
