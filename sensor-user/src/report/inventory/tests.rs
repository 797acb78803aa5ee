//! Rows come in; every form of the report is compared with what it must, and must not, hold.

use super::*;
use crate::report::sinks::terminal::Look;
use crate::store::Approved;
use crate::store::Figures;
use crate::store::Use;

fn entry(provider: &str, model: &str, user: &str, picodollars: i64) -> Entry {
    let used = Use {
        provider: provider.to_owned(),
        host: format!("{provider}.example"),
        model: model.to_owned(),
        program: "python3".to_owned(),
        user: user.to_owned(),
        credential: "9f3c2e1a00112233".to_owned(),
        credential_hint: "sk-…a1B2".to_owned(),
        ..Use::default()
    };
    let mut figures = Figures {
        first_seen: 1_800_000_000,
        last_seen: 1_800_090_000,
        calls: 2,
        input_tokens: 100,
        output_tokens: 11,
        ..Figures::default()
    };
    figures.add_amount(picodollars);
    Entry { used, figures, ..Entry::default() }
}

fn entries() -> Vec<Entry> {
    let mut blind = entry("", "", "bob", 0);
    blind.figures = Figures {
        opaque: 3,
        opaque_tokens: 1_200,
        opaque_microdollars: 12_300,
        last_seen: 1_800_000_000,
        ..Figures::default()
    };
    let approved = |entry: Entry, approved| Entry { approved, ..entry };
    vec![
        approved(entry("openai", "gpt-4o", "ana", 1_500_000_000_000), Approved::Yes),
        approved(entry("openai", "=cmd()", "bob", 500_000_000_000), Approved::No),
        entry("unlisted", "<script>x</script>\u{1b}[31m", "ana", 0),
        blind,
    ]
}

#[test]
fn text_sums_what_belongs_together() {
    let said = text(&entries(), &Look::fixed(None, false));
    let line = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}\n{said}")).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(
        line("openai"),
        ["openai", "2", "4", "0", "222", "$2.000000", "partly", "2027-01-15", "2027-01-16"]
    );
    assert_eq!(line("gpt-4o")[6], "yes");
    assert_eq!(line("=cmd()")[6], "no");
    assert!(said.contains("unlisted.example (unlisted)"), "{said}");
    // Whoever is not seen lowers the share; what it may have carried stands beside the sums.
    assert_eq!(line("all")[1..7], ["6", "3", "0", "%", "333", "$2.000000"]);
    assert!(
        said.contains("about 1,200 tokens, $0.012300 (estimated from bytes, in no sum)"),
        "{said}"
    );
    assert!(said.contains("WHOLE: 0 % of 3 connections were seen whole, 0 in part"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert_eq!(text(&[], &Look::fixed(None, false)), "no use of AI has been seen in this time\n");
}

#[test]
fn csv_has_every_row_and_no_formula() {
    let mut out = Vec::new();
    csv(&entries(), &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert_eq!(said.lines().count(), 5, "{said}");
    assert!(said.starts_with("provider,category,host,model,"), "{said}");
    assert!(said.contains(",'=cmd(),") && said.contains(",1.5,"), "{said}");
}

#[test]
fn csv_steers_no_terminal_and_hides_no_text() {
    let mut hostile = entry("openai", "a\u{1b}]0;x\u{7}b", "an\u{202e}a", 1);
    hostile.used.host = "\u{200b}=cmd()".to_owned();
    hostile.used.program = "\t=cmd()".to_owned();
    hostile.used.credential_hint = "sk\u{1b}[2J".to_owned();
    let mut out = Vec::new();
    csv(&[hostile], &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    let is_hazard =
        |next: char| (next.is_control() && next != '\n') || "\u{202e}\u{200b}".contains(next);
    assert!(!said.contains(is_hazard), "{said:?}");
    assert!(said.contains("a\\u{1b}]0;x\\u{7}b,") && said.contains(",an\\u{202e}a,"), "{said}");
    assert!(!said.contains(",=cmd()"), "{said}");
}

#[test]
fn json_has_one_object_a_row() {
    let mut out = Vec::new();
    json(&entries(), &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    let rows: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["cost_usd"], "1.5");
    assert_eq!(rows[2]["listed"], false);
    let approved: Vec<_> = rows.iter().map(|row| row["approved"].as_str().unwrap()).collect();
    assert_eq!(approved, ["yes", "no", "unknown", "unknown"]);
}

#[test]
fn page_is_self_contained_and_escapes_what_peers_say() {
    let page = html(&entries(), "node<1>", "2030-01-02").unwrap();
    assert!(page.contains("node&#60;1&#62;") && !page.contains("<script"), "{page}");
    for outside in ["http://", "https://", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("not in the catalogue") && page.contains("opaque"));
    assert!(page.contains("<td>no</td>") && page.contains("<td>yes</td>"), "{page}");
}

#[test]
fn what_is_not_known_is_no_zero() {
    let mut unpriced = entry("groq", "m", "ana", 0);
    (unpriced.figures.unpriced, unpriced.figures.input_tokens) = (2, 0);
    unpriced.figures.output_tokens = 0;
    let mut whole = entry("openai", "", "ana", 0);
    whole.figures = Figures { whole: 1, ..Figures::default() };
    let mut blind = entry("xai", "", "ana", 0);
    blind.figures = Figures { opaque: 1, opaque_tokens: 7, ..Figures::default() };
    let free = entry("ollama", "m", "ana", 0);
    let entries = [unpriced, whole, blind, free];

    let said = text(&entries, &Look::fixed(None, false));
    let services: Vec<Vec<&str>> =
        said.lines().skip(1).take(4).map(|line| line.split_whitespace().collect()).collect();
    let cells = |name: &str, from: usize| {
        let line = services.iter().find(|line| line[0] == name).unwrap();
        [line[from], line[from.saturating_add(1)]]
    };
    assert_eq!(cells("groq", 4), ["-", "?"], "{said}");
    assert_eq!(cells("openai", 6), ["-", "-"], "{said}");
    assert_eq!(cells("ollama", 4), ["111", "$0"], "{said}");

    let mut out = Vec::new();
    json(&entries, &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    let rows: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = ["input_tokens", "cost_usd", "opaque_estimated_tokens", "opaque_estimated_usd"];
    let has = |row: &serde_json::Value| fields.map(|name| row.get(name).is_some());
    assert_eq!(has(&rows[0]), [false, false, true, true], "{said}");
    assert_eq!(has(&rows[1]), [false, false, true, true], "{said}");
    assert_eq!(has(&rows[2]), [false, false, true, false], "{said}");
    assert_eq!(has(&rows[3]), [true, true, true, true], "{said}");
    assert_eq!(rows[3]["cost_usd"], "0");

    let mut out = Vec::new();
    csv(&entries[..1], &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains(",2,0,,,,2,"), "{said}");
    let page = html(&entries[1..2], "node", "2030-01-02").unwrap();
    assert!(page.contains("<td class=\"n\">-</td>") && !page.contains("$0"), "{page}");
}
