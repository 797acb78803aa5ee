//! What a kernel test saw of a client comes in; it is held against the table of clients in the documents, or renews it.

use std::env::var_os;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

/// Renews the table instead of comparing with it.
const BLESS: &str = "TOLLGATE_BLESS";
/// Words of the table's head.
const HEAD: [&str; 6] = ["client", "version", "TLS stack", "found by", "protocol", "result"];

/// One client and what became of its calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Its name.
    pub client: String,
    /// Its version.
    pub version: String,
    /// The TLS library it carries or maps.
    pub stack: String,
    /// How the library's functions were found.
    pub found_by: String,
    /// HTTP version, or WebSocket.
    pub protocol: String,
    /// What became of its calls.
    pub result: String,
}

impl Row {
    fn cells(&self) -> [&str; 6] {
        [&self.client, &self.version, &self.stack, &self.found_by, &self.protocol, &self.result]
    }

    fn read(line: &str) -> Option<Self> {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<_> = line.split(" | ").map(str::to_owned).collect();
        let [client, version, stack, found_by, protocol, result] = cells.try_into().ok()?;
        Some(Self { client, version, stack, found_by, protocol, result })
    }

    fn line(cells: [&str; 6]) -> String {
        format!("| {} |", cells.join(" | "))
    }
}

/// Holds a row against the table; a client that is not in it is an error, as is any difference.
pub fn hold(row: &Row) -> Result<()> {
    hold_in(&table(), row, var_os(BLESS).is_some())
}

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/clients.md")
}

fn hold_in(path: &Path, row: &Row, bless: bool) -> Result<()> {
    // Tests of other threads and processes renew their own rows.
    let held = File::open(path).context("opening the table of clients")?;
    flock(&held, FlockOperation::LockExclusive).context("locking the table of clients")?;
    let text = fs::read_to_string(path).context("reading the table of clients")?;
    let (mut rows, head) = parse(&text)?;
    let same = |other: &Row| other.client == row.client && other.version == row.version;
    if bless {
        rows.retain(|other| !same(other));
        rows.push(row.clone());
        rows.sort();
        return fs::write(path, render(&head, &rows)).context("writing the table of clients");
    }
    let known = rows.iter().find(|other| same(other));
    ensure!(
        known == Some(row),
        "docs/clients.md is not current: run the test with {BLESS}=1 and look at the change\n{known:?}\n{row:?}"
    );
    Ok(())
}

/// The rows, and the text before the table.
fn parse(text: &str) -> Result<(Vec<Row>, String)> {
    let (head, table) =
        text.split_once(&Row::line(HEAD)).context("the document of clients has no table")?;
    let lines = table.lines().skip(2).filter(|line| !line.is_empty());
    let rows: Option<Vec<_>> = lines.map(Row::read).collect();
    Ok((rows.context("a row of the table of clients is broken")?, head.to_owned()))
}

fn render(head: &str, rows: &[Row]) -> String {
    let lines = [Row::line(HEAD), Row::line(["---"; 6])];
    let lines = lines.into_iter().chain(rows.iter().map(|row| Row::line(row.cells())));
    format!("{head}{}\n", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: &str, version: &str, result: &str) -> Row {
        let text = |text: &str| text.to_owned();
        Row {
            client: text(client),
            version: text(version),
            stack: text("boringssl"),
            found_by: text("offsets"),
            protocol: text("HTTP/1.1"),
            result: text(result),
        }
    }

    #[test]
    fn a_row_that_differs_or_is_missing_is_an_error_until_it_is_blessed() {
        let folder = crate::harness::temp_folder("matrix").unwrap();
        let path = folder.path().join("clients.md");
        fs::write(&path, format!("# Clients\n\n{}\n| --- |\n", Row::line(HEAD))).unwrap();
        let (bun, node) = (row("Bun", "1", "exact"), row("Node", "20", "exact"));
        assert!(hold_in(&path, &bun, false).is_err());
        hold_in(&path, &node, true).unwrap();
        hold_in(&path, &bun, true).unwrap();
        hold_in(&path, &bun, false).unwrap();
        assert!(hold_in(&path, &row("Bun", "1", "missed"), false).is_err());
        hold_in(&path, &row("Bun", "1", "better"), true).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let (rows, head) = parse(&text).unwrap();
        assert_eq!(
            (rows.as_slice(), head.as_str()),
            (&[row("Bun", "1", "better"), node][..], "# Clients\n\n")
        );
        assert_eq!(render(&head, &rows), text);
    }

    #[test]
    fn the_committed_table_is_sorted_and_each_client_stands_in_it_once() {
        let text = fs::read_to_string(table()).unwrap();
        let (rows, head) = parse(&text).unwrap();
        assert_eq!(render(&head, &rows), text);
        assert!(
            rows.is_sorted_by(
                |one, next| (&one.client, &one.version) < (&next.client, &next.version)
            )
        );
    }
}
