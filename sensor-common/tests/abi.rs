//! The sources of this crate come in; `tests/golden/abi.txt` holds every constant, and every field with size and offset.

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "sizes of the sources of this crate; an overflow fails the test"
)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    use sensor_common::forms::Held;
    use sensor_common::gate::{
        AiSocket, Gate, GateEvent, Object, Owner, RuleKey, Subject, Switches, Verdict,
    };
    use sensor_common::record::{HEADER_LEN, Header, Hello, Socket};
    use sensor_common::scan::Head;
    use sensor_common::state::{Alias, Call, Connection, ConnectionKey, GoCallKey, WireOwner};

    /// Size and alignment of each structure as the compiler lays it out. `Record` is a header and its payload.
    const STRUCTURES: [(&str, usize, usize); 20] = [
        ("Header", size_of::<Header>(), align_of::<Header>()),
        ("Socket", size_of::<Socket>(), align_of::<Socket>()),
        ("Hello", size_of::<Hello>(), align_of::<Hello>()),
        ("ConnectionKey", size_of::<ConnectionKey>(), align_of::<ConnectionKey>()),
        ("Connection", size_of::<Connection>(), align_of::<Connection>()),
        ("Call", size_of::<Call>(), align_of::<Call>()),
        ("GoCallKey", size_of::<GoCallKey>(), align_of::<GoCallKey>()),
        ("Alias", size_of::<Alias>(), align_of::<Alias>()),
        ("WireOwner", size_of::<WireOwner>(), align_of::<WireOwner>()),
        ("Subject", size_of::<Subject>(), align_of::<Subject>()),
        ("RuleKey", size_of::<RuleKey>(), align_of::<RuleKey>()),
        ("Verdict", size_of::<Verdict>(), align_of::<Verdict>()),
        ("Switches", size_of::<Switches>(), align_of::<Switches>()),
        ("Gate", size_of::<Gate>(), align_of::<Gate>()),
        ("Object", size_of::<Object>(), align_of::<Object>()),
        ("AiSocket", size_of::<AiSocket>(), align_of::<AiSocket>()),
        ("GateEvent", size_of::<GateEvent>(), align_of::<GateEvent>()),
        ("Owner", size_of::<Owner>(), align_of::<Owner>()),
        ("Held", size_of::<Held>(), align_of::<Held>()),
        ("Head", size_of::<Head>(), align_of::<Head>()),
    ];
    /// Begins the only structure whose size depends on a number.
    const TIERED: &str = "Record<";

    /// Source text without comments and attributes, each item on one line.
    fn items(module: &str) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
        let text = fs::read_to_string(path).unwrap();
        let code = |line: &&str| !(line.starts_with("//") || line.starts_with('#'));
        let lines: Vec<_> = text.lines().map(str::trim).filter(code).collect();
        let flat = lines.join(" ");
        flat.split("pub ").map(|item| item.trim().to_owned()).collect()
    }

    /// `NAME: TYPE = VALUE` of a constant.
    fn constant(item: &str) -> Option<(&str, &str, &str)> {
        let (name, rest) = item.strip_prefix("const ")?.split_once(": ")?;
        let (kind, value) = rest.split_once(" = ")?;
        Some((name, kind, value.split_once(';').map_or(value, |(value, _)| value)))
    }

    /// The number that a constant or a literal stands for; products and sums of such are enough here.
    fn number(text: &str, constants: &BTreeMap<String, String>) -> usize {
        if let Some((left, right)) = text.split_once(" * ") {
            return number(left, constants) * number(right, constants);
        }
        if text == "size_of::<Header>()" {
            return HEADER_LEN;
        }
        let text = text.trim_end_matches(" as usize");
        let literal = text.replace('_', "").parse().ok();
        literal.unwrap_or_else(|| {
            let value = constants.get(text).unwrap_or_else(|| panic!("no constant {text}"));
            number(value, constants)
        })
    }

    /// Size and alignment of a field's type.
    fn layout(kind: &str, constants: &BTreeMap<String, String>) -> (usize, usize) {
        if let Some((element, count)) =
            kind.strip_prefix('[').and_then(|array| array.strip_suffix(']')?.rsplit_once("; "))
        {
            let (size, alignment) = layout(element, constants);
            return (size * number(count, constants), alignment);
        }
        let primitive = kind.strip_prefix('u').and_then(|bits| bits.parse::<usize>().ok());
        let structure = STRUCTURES.iter().find(|(name, ..)| *name == kind);
        match (primitive, structure) {
            (Some(bits), _) => (bits / 8, bits / 8),
            (None, Some((_, size, alignment))) => (*size, *alignment),
            (None, None) => panic!("{kind} is no type of the ABI"),
        }
    }

    /// One structure with its fields, whose items follow `name`. The derives leave no room for padding without a name.
    fn structure(name: &str, fields: &[String], constants: &BTreeMap<String, String>) -> String {
        let (whole, alignment) = layout(name, constants);
        let mut text = format!("struct {name}: size {whole}, alignment {alignment}\n");
        let mut at = 0;
        for (field, rest) in fields.iter().filter_map(|item| item.split_once(": ")) {
            let kind = rest.split([',', '}']).next().unwrap_or_default().trim();
            let (size, alignment) = layout(kind, constants);
            assert_eq!(at % alignment, 0, "{name}.{field} leaves a hole before it");
            writeln!(text, "  {name}.{field}: {kind}, offset {at}, size {size}").unwrap();
            at += size;
            if rest.contains('}') {
                break;
            }
        }
        assert_eq!(at, whole, "{name} as the compiler lays it out");
        text
    }

    /// Everything that both halves must agree on, as text.
    fn abi() -> String {
        let mut modules = vec!["lib".to_owned()];
        modules.extend(
            items("lib")
                .iter()
                .filter_map(|item| Some(item.strip_prefix("mod ")?.split_once(';')?.0.to_owned())),
        );
        let mut text = String::new();
        let mut constants = BTreeMap::new();
        for module in &modules {
            for (name, kind, value) in items(module).iter().filter_map(|item| constant(item)) {
                constants.insert(name.to_owned(), value.to_owned());
                writeln!(text, "const {module}::{name}: {kind} = {value}").unwrap();
            }
        }
        let all: Vec<_> = modules.iter().flat_map(|module| items(module)).collect();
        let mut found = 0;
        for (at, item) in all.iter().enumerate() {
            let Some(name) = item.strip_prefix("struct ") else { continue };
            let name = name.split(' ').next().unwrap_or_default();
            if !name.starts_with(TIERED) {
                text.push_str(&structure(name, &all[at + 1..], &constants));
                found += 1;
            }
        }
        assert_eq!(found, STRUCTURES.len(), "a structure stands in the table but not in a source");
        text
    }

    #[test]
    fn both_halves_agree_on_what_the_golden_file_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/abi.txt");
        let text = abi();
        if std::env::var_os("TOLLGATE_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        let differs = text
            .lines()
            .chain(golden.lines())
            .find(|line| !(text.lines().any(|l| l == *line) && golden.lines().any(|l| l == *line)));
        assert!(
            text == golden,
            "the ABI has changed ({differs:?}): raise ABI_VERSION, run the tests with TOLLGATE_BLESS=1, and look at the change of tests/golden/abi.txt"
        );
    }
}
