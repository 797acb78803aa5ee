//! Rows of known builds come in; where the functions of a file's TLS library are goes out, checked against its code.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::library::Library;
use super::segments::{Machine, Segments, hex};
use super::structure::Located;

/// Bytes of a function's start that a row holds, so that a wrong row is never attached.
const BEGINNING: usize = 16;

const ROWS: &str = include_str!("../../data/tls_offsets.toml");

/// A row says something that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table is no TOML, or a field is wrong.
    #[error("reading the table of offsets")]
    Table(#[source] toml::de::Error),
    /// A row contradicts itself or another.
    #[error("build {build_id} of {library}: {what}")]
    Row {
        /// Build-id of the row.
        build_id: String,
        /// Its library.
        library: String,
        /// What is wrong.
        what: String,
    },
}

/// One build of a program, and where the functions of its library are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// GNU build-id, in hex.
    pub build_id: String,
    /// Name of the library.
    pub library: String,
    /// Instruction set.
    pub machine: String,
    /// Name of the function, offset in the file, and the bytes that stand there, in hex.
    pub functions: Vec<(String, u64, String)>,
    /// Program and version.
    pub source: String,
    /// How the row was found and when.
    pub checked: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    build: Vec<Build>,
}

/// Known builds.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    builds: BTreeMap<String, Vec<Build>>,
}

impl Offsets {
    /// The table that is built in; a test reads it, so at run time it is never malformed.
    pub fn bundled() -> Self {
        Self::default().with(ROWS).unwrap_or_default()
    }

    /// Adds rows; a row of a build and library that is known replaces the known one.
    pub fn with(mut self, text: &str) -> Result<Self, Error> {
        let document: Document = toml::from_str(text).map_err(Error::Table)?;
        for build in document.build {
            check(&build)?;
            let known = self.builds.entry(build.build_id.clone()).or_default();
            known.retain(|other| other.library != build.library);
            known.push(build);
        }
        Ok(self)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.builds.values().map(Vec::len).fold(0, usize::saturating_add)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
    }

    /// Forgets the rows of a build that have proven wrong.
    pub(super) fn remove(&mut self, build_id: &str) {
        self.builds.remove(build_id);
    }

    /// The row of a file and library.
    pub fn of(&self, image: &Segments<'_>, library: Library) -> Option<&Build> {
        self.builds.get(&image.build_id)?.iter().find(|build| build.library == library.as_str())
    }

    /// The functions of a file by its row; none where the code at a place is not what the row says.
    pub fn find(
        &self,
        image: &Segments<'_>,
        library: Library,
        names: &[&'static str],
    ) -> Vec<Located> {
        let Some(build) = self.of(image, library) else { return Vec::new() };
        let places = build.functions.iter().map(|(name, offset, beginning)| {
            let name = names.iter().find(|known| *known == name)?;
            let address = image.address_of(*offset)?;
            (hex(&image.bytes(address, BEGINNING)) == *beginning).then_some((*name, address))
        });
        places.collect::<Option<Vec<_>>>().unwrap_or_default()
    }
}

fn check(build: &Build) -> Result<(), Error> {
    let wrong = |what: String| Error::Row {
        build_id: build.build_id.clone(),
        library: build.library.clone(),
        what,
    };
    let is_hex = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    };
    if build.build_id.len() < 16 || !is_hex(&build.build_id) {
        return Err(wrong("the build-id is no lowercase hex of eight bytes or more".to_owned()));
    }
    if ![Machine::X86, Machine::Arm].iter().any(|machine| machine.as_str() == build.machine) {
        return Err(wrong(format!("machine `{}` is not known", build.machine)));
    }
    if build.functions.is_empty() || build.source.is_empty() || build.checked.is_empty() {
        return Err(wrong("functions, source and checked must not be empty".to_owned()));
    }
    let odd = build.functions.iter().find(|(_, offset, beginning)| {
        *offset == 0 || beginning.len() != BEGINNING.saturating_mul(2) || !is_hex(beginning)
    });
    match odd {
        Some((name, ..)) => {
            Err(wrong(format!("`{name}` needs an offset and {BEGINNING} bytes in hex")))
        }
        None => Ok(()),
    }
}

/// Proposes the row of a file.
pub fn propose(image: &Segments<'_>, library: Library, places: &[Located], source: &str) -> String {
    let mut row = format!(
        "[[build]]\nbuild_id = \"{}\"\nlibrary = \"{}\"\nmachine = \"{}\"\nfunctions = [\n",
        image.build_id,
        library.as_str(),
        image.machine.as_str()
    );
    for (name, address) in places {
        let offset = image.offset_of(*address).unwrap_or_default();
        let beginning = hex(&image.bytes(*address, BEGINNING));
        // Writing to a string cannot fail.
        let _written = writeln!(row, "  [\"{name}\", {offset:#x}, \"{beginning}\"],");
    }
    let _written = write!(row, "]\nsource = \"{source}\"\nchecked = \"\"\n");
    row
}

#[cfg(test)]
mod tests {
    use crate::probes::segments::made;

    use super::*;

    const ROW: &str = "[[build]]\nbuild_id = \"0011223344556677\"\nlibrary = \"boringssl\"\nmachine = \"x86_64\"\n\
        functions = [[\"SSL_write\", 0x1010, \"55555555555555555555555555555555\"]]\nsource = \"a\"\nchecked = \"b\"\n";

    #[test]
    fn built_in_rows_are_right() {
        let rows = Offsets::default().with(ROWS).unwrap();
        assert!(rows.len() >= 10, "{}", rows.len());
        let boringssl = rows.builds.values().flatten().filter(|build| build.library == "boringssl");
        for build in boringssl {
            for name in ["SSL_write", "SSL_read", "SSL_do_handshake", "BIO_write"] {
                assert!(
                    build.functions.iter().any(|(known, ..)| known == name),
                    "{} {name}",
                    build.source
                );
            }
        }
    }

    #[test]
    fn row_holds_only_where_the_code_is_as_it_says() {
        let table = Offsets::default().with(ROW).unwrap();
        for (byte, found) in [(0x55, vec![("SSL_write", made::CODE_AT + 16)]), (0x90, vec![])] {
            let file = made::file(Machine::X86, &[byte; 64], b"");
            let mut image = Segments::open(&file).unwrap();
            image.build_id = "0011223344556677".to_owned();
            assert_eq!(table.find(&image, Library::BoringSsl, &["SSL_write"]), found);
            // A function that nobody knows makes the row useless.
            assert_eq!(table.find(&image, Library::BoringSsl, &["SSL_read"]), []);
        }
    }

    #[test]
    fn wrong_rows_are_refused() {
        for (from, to) in [
            ("0011223344556677", "0011"),
            ("x86_64", "pdp11"),
            ("0x1010", "0"),
            ("\"5555", "\"55"),
            ("source", "origin"),
        ] {
            assert!(Offsets::default().with(&ROW.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn proposed_row_finds_the_functions_again() {
        let file = made::file(Machine::X86, &[0x55; 64], b"");
        let mut image = Segments::open(&file).unwrap();
        image.build_id = "0011223344556677".to_owned();
        let places = [("SSL_write", made::CODE_AT + 16)];
        let row = propose(&image, Library::BoringSsl, &places, "a test")
            .replace("checked = \"\"", "checked = \"now\"");
        let table = Offsets::default().with(&row).unwrap();
        assert_eq!(table.find(&image, Library::BoringSsl, &["SSL_write"]), places);
    }
}
