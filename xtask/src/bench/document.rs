//! Sections with figures come in; BENCHMARKS.md goes out, where sections of another run on the same machine stay.

use std::fmt::Write;

/// First lines of the document.
const HEAD: &str = "# Benchmarks

Made by `cargo xtask bench`; parts can be measured alone (`cargo xtask bench server soak`) and replace their section. Figures of different machines say little about each other; what counts are the ratios within one run. Ways to watch take turns in rounds; a figure is the median over the rounds, in brackets the least and the most, so that what else the machine did shows.
";

/// Heading of the rows about the machine.
const MACHINE: &str = "Machine";

/// What one part came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// Text below it.
    pub text: String,
}

/// A figure beside what it should be, as a line of a section.
pub fn goal(what: &str, figure: &str, is_held: bool) -> String {
    format!("- Goal: {what}. Here: {figure}, **{}**.\n", if is_held { "held" } else { "missed" })
}

/// The rows about a machine, as text.
pub fn machine(rows: &[(&'static str, String)]) -> String {
    rows.iter().fold("| | |\n|---|---|\n".to_owned(), |mut text, (name, value)| {
        // Writing into a string cannot fail.
        let _written = writeln!(text, "| {name} | {value} |");
        text
    })
}

/// Puts sections into their places: `order` gives all titles in order; sections of `old` that were not measured now stay
/// where `old` is of the same machine.
pub fn merge(old: &str, machine: &str, order: &[&str], fresh: &[Section]) -> String {
    let kept = sections(old);
    let same =
        kept.iter().any(|section| section.title == MACHINE && section.text == machine.trim());
    let mut text = format!("{HEAD}\n## {MACHINE}\n\n{}\n", machine.trim());
    for title in order {
        let found = fresh.iter().find(|section| section.title == *title);
        let found = found.or_else(|| kept.iter().find(|section| same && section.title == *title));
        if let Some(section) = found {
            let _written = write!(text, "\n## {title}\n\n{}\n", section.text.trim());
        }
    }
    text
}

fn sections(text: &str) -> Vec<Section> {
    let parts = text.split("\n## ").skip(1);
    let section = |part: &str| {
        let (title, text) = part.split_once('\n')?;
        Some(Section { title: title.to_owned(), text: text.trim().to_owned() })
    };
    parts.filter_map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &str, text: &str) -> Section {
        Section { title: title.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn fresh_section_replaces_its_own_and_others_stay_on_the_same_machine() {
        let here = machine(&[("kernel", "6.18".to_owned())]);
        let order = ["One", "Two"];
        let first =
            merge("", &here, &order, &[section("Two", "old two"), section("One", "old one")]);
        assert!(first.find("old one") < first.find("old two"), "{first}");
        let second = merge(&first, &here, &order, &[section("Two", "new two\n")]);
        assert!(second.contains("## One\n\nold one\n") && second.contains("new two"), "{second}");
        assert!(!second.contains("old two"), "{second}");
        assert_eq!(second, merge(&second, &here, &order, &[]));
    }

    #[test]
    fn sections_of_another_machine_are_dropped() {
        let first =
            merge("", &machine(&[("kernel", "5.10".to_owned())]), &["One"], &[section("One", "1")]);
        let second = merge(
            &first,
            &machine(&[("kernel", "6.18".to_owned())]),
            &["One", "Two"],
            &[section("Two", "2")],
        );
        assert!(!second.contains("## One") && second.contains("## Two"), "{second}");
    }

    #[test]
    fn goal_says_whether_it_is_held() {
        assert_eq!(goal("under 3", "2", true), "- Goal: under 3. Here: 2, **held**.\n");
        assert!(goal("under 3", "4", false).contains("**missed**"));
    }
}
