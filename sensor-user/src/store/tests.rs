//! Sightings come in; what the inventory says after more of them, a restart, a full table and a newer file is compared.

use super::*;

fn sighting(model: &str, at: i64, picodollars: i64) -> Entry {
    let used = Use {
        provider: "openai".to_owned(),
        host: "api.openai.com".to_owned(),
        model: model.to_owned(),
        program: "python3".to_owned(),
        user: "ana".to_owned(),
        ..Use::default()
    };
    let mut figures = Figures {
        first_seen: at,
        last_seen: at,
        calls: 1,
        input_tokens: 10,
        output_tokens: 5,
        ..Figures::default()
    };
    figures.add_amount(picodollars);
    Entry { used, figures, ..Entry::default() }
}

#[test]
fn sums_survive_a_restart_exactly() {
    let folder = tempfile::tempdir().unwrap();
    for at in [100, 50, 300] {
        let mut store = Store::open(folder.path()).unwrap();
        store.add(&[sighting("a", at, 999_999_999_999)]).unwrap();
    }
    let mode = fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let entries = Store::open_to_read(folder.path()).unwrap().entries(0).unwrap();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.figures.first_seen, entry.figures.last_seen), (50, 300));
    assert_eq!((entry.figures.calls, entry.figures.input_tokens), (3, 30));
    assert_eq!(entry.figures.amount(), 2_999_999_999_997);
}

#[test]
fn figures_add_up_in_memory_as_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let mut sum = Figures::default();
    for (at, amount) in [(7, 1), (3, 600_000_000_000), (9, 400_000_000_000)] {
        let mut entry = sighting("a", at, amount);
        entry.figures.decision = if at == 9 { String::new() } else { format!("at-{at}") };
        sum.add(&entry.figures);
        store.add(&[entry]).unwrap();
    }
    let entries = store.entries(0).unwrap();
    assert_eq!(entries[0].figures.amount(), sum.amount());
    assert_eq!((entries[0].figures.first_seen, entries[0].figures.last_seen), (3, 9));
    assert_eq!((sum.first_seen, sum.last_seen, sum.calls), (3, 9, 3));
}

#[test]
fn sums_stay_at_their_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let mut huge = sighting("a", 1, 999_999_999_999);
    huge.figures.dollars = i64::MAX;
    let figures = &mut huge.figures;
    for figure in [
        &mut figures.input_tokens,
        &mut figures.output_tokens,
        &mut figures.missing_bytes,
        &mut figures.opaque_tokens,
        &mut figures.opaque_microdollars,
    ] {
        *figure = u64::MAX;
    }
    // One that an earlier version wrote.
    store.add(&[huge.clone()]).unwrap();
    let most = "UPDATE inventory SET input_tokens = 9223372036854775807";
    store.connection.execute(most, []).unwrap();
    for _ in 0..3 {
        assert_eq!(store.add(&[huge.clone(), sighting("b", 1, 1)]).unwrap(), 0);
    }
    let entries = store.entries(0).unwrap();
    let [all, other] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((all.figures.calls, other.figures.calls), (4, 3));
    assert_eq!(all.figures.input_tokens, 9_000_000_000_000_000_000);
    assert_eq!(all.figures.missing_bytes, 9_000_000_000_000_000_000);
}

#[test]
fn row_that_is_refused_keeps_no_other_from_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store
        .connection
        .execute_batch(
            "CREATE TRIGGER refusing BEFORE INSERT ON inventory WHEN new.model = 'bad'
                BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
        .unwrap();
    let rows = [sighting("a", 1, 1), sighting("bad", 1, 1), sighting("b", 1, 1)];
    assert_eq!(store.add(&rows).unwrap(), 1);
    let models: Vec<_> = store.entries(0).unwrap().into_iter().map(|one| one.used.model).collect();
    assert_eq!(models, ["a", "b"]);
}

#[test]
fn dearest_comes_first_and_what_is_old_is_left_out_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store
        .add(&[sighting("cheap", 100, 1), sighting("dear", 200, 5), sighting("old", 10, 9)])
        .unwrap();
    let models = |since| {
        let entries = store.entries(since).unwrap();
        entries.into_iter().map(|entry| entry.used.model).collect::<Vec<_>>()
    };
    assert_eq!(models(0), ["old", "dear", "cheap"]);
    assert_eq!(models(50), ["dear", "cheap"]);
    assert_eq!(store.forget(200, 150).unwrap(), 1);
    assert_eq!(store.entries(0).unwrap().len(), 2);
}

#[test]
fn clock_that_jumps_ahead_forgets_nothing() {
    let days = |number: i64| number.saturating_mul(86_400);
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.forget(days(4_000), days(400)).unwrap(), 0, "nothing is there");
    store.add(&[sighting("a", days(400), 1), sighting("b", days(500), 1)]).unwrap();
    assert_eq!(store.forget(days(4_150), days(400)).unwrap(), 0);
    assert_eq!(store.entries(0).unwrap().len(), 2);
    assert_eq!(store.forget(days(500), days(99)).unwrap(), 1);
}

#[test]
fn full_table_sums_what_is_new_and_goes_on_with_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.add(&[sighting("known", 1, 1)]).unwrap();
    store.rows = ROWS_MAX;
    store.add(&[sighting("known", 2, 1), sighting("new", 2, 1)]).unwrap();
    store.rows = ROWS_MAX;
    store.add(&[sighting("newer", 3, 1)]).unwrap();
    let entries = store.entries(0).unwrap();
    let mut calls: Vec<_> =
        entries.iter().map(|entry| (entry.used.model.as_str(), entry.figures.calls)).collect();
    calls.sort_unstable();
    assert_eq!(calls, [(OTHERS, 2), ("known", 2)]);
}

#[test]
fn file_of_the_first_version_is_renewed_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.add(&[sighting("a", 1, 7)]).unwrap();
    let columns = ["whole", "partial", "missing_bytes", "opaque_tokens", "opaque_microdollars"];
    for column in columns {
        store
            .connection
            .execute(&format!("ALTER TABLE inventory DROP COLUMN {column}"), [])
            .unwrap();
    }
    store.connection.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    let mut more = sighting("a", 2, 1);
    (more.figures.whole, more.figures.partial, more.figures.opaque) = (3, 1, 4);
    (more.figures.missing_bytes, more.figures.opaque_tokens) = (9, 100);
    more.figures.opaque_microdollars = 5;
    store.add(&[more.clone()]).unwrap();
    store.add(&[more]).unwrap();
    let entries = store.entries(0).unwrap();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    let figures = &entry.figures;
    assert_eq!((figures.calls, figures.amount()), (3, 9));
    assert_eq!((figures.whole, figures.partial, figures.missing_bytes), (6, 2, 18));
    assert_eq!((figures.opaque_tokens, figures.opaque_amount()), (200, 10_000_000));
    assert_eq!(figures.coverage(), Some((16, 37)));
}

#[test]
fn file_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.connection.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(store);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 99, known: 2, .. }), "{error}");
}

#[test]
fn file_that_is_no_database_is_damaged_and_stays_until_it_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    fs::write(&path, [b'x'; 4096]).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(fs::read(&path).unwrap(), [b'x'; 4096]);
    let wal = folder.path().join("inventory.db-wal");
    fs::write(&wal, "y").unwrap();
    let aside = Store::set_aside(folder.path(), ".broken-1").unwrap();
    assert_eq!(aside, folder.path().join("inventory.db.broken-1"));
    assert_eq!(fs::read(aside).unwrap(), [b'x'; 4096]);
    assert!(!wal.exists());
    let mut store = Store::open(folder.path()).unwrap();
    store.add(&[sighting("a", 1, 1)]).unwrap();
    assert_eq!(store.entries(0).unwrap().len(), 1);
}

#[test]
fn broken_page_of_a_table_is_found_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut store = Store::open(folder.path()).unwrap();
    let rows: Vec<_> = (0..500).map(|at| sighting(&format!("model-{at}"), at, 1)).collect();
    store.add(&rows).unwrap();
    // Rows are counted by the index: they are read from the table alone.
    let root = "SELECT (rootpage - 1) * page_size, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'inventory'";
    let read = |row: &Row<'_>| Ok([row.get::<_, u32>(0)?, row.get::<_, u32>(1)?]);
    let place = store.connection.query_row(root, [], read).unwrap();
    let [at, size] = place.map(|number| usize::try_from(number).unwrap());
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes.iter_mut().skip(at).take(size).for_each(|byte| *byte = 0xff);
    fs::write(&path, &bytes).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn file_that_is_in_use_is_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let other = Store::open(folder.path()).unwrap();
    other.connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    store.connection.busy_timeout(Duration::ZERO).unwrap();
    let error = store.add(&[sighting("a", 1, 1)]).unwrap_err();
    assert!(matches!(error, Error::Database { .. }), "{error}");
    // A folder in its place cannot be opened; nothing says that it is broken.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Database { doing: "opening", .. }), "{error}");
}
