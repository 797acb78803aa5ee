//! A JSON document comes in; what the skimmer finds must be what a whole parse finds, however the document is cut.

use std::sync::LazyLock;

use sensor_user::provider::skim::{Plan, Skimmer, Slot, Want};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::input::{Choices, SINGLE_MAX};

/// Longest document that is compared: in it no text can be over a bound of the skimmer.
const COMPARED_MAX: usize = 1000;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    Plan::new(&[
        ("model", Want::Text),
        ("usage", Want::Json),
        ("choices[]", Want::Filled),
        ("choices[].delta.content", Want::Filled),
        ("output[].type", Want::Tally(&["web", "file"])),
        ("[].n", Want::Text),
    ])
});

static DEEP: LazyLock<Plan> =
    LazyLock::new(|| Plan::new(&[("model", Want::Text), ("**.cache.ttl", Want::Tally(&["1h"]))]));

/// Compares what was found with the whole document.
type Compare = fn(&Skimmer, &Tree);

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let targets: [(&Plan, Compare); 2] = [(&PLAN, compare), (&DEEP, compare_deep)];
    for (plan, compare) in targets {
        let whole = skim(plan, &[data]);
        assert_eq!(show(&skim(plan, &Choices::of(data).parts(data))), show(&whole), "cut anywhere");
        if data.len() <= SINGLE_MAX {
            assert_eq!(
                show(&skim(plan, &data.chunks(1).collect::<Vec<_>>())),
                show(&whole),
                "by bytes"
            );
        }
        if data.len() > COMPARED_MAX {
            continue;
        }
        if let Ok(tree) = serde_json::from_slice::<Tree>(data) {
            assert!(!whole.is_broken(), "a valid document is called broken");
            compare(&whole, &tree);
        }
    }
}

fn skim(plan: &'static Plan, parts: &[&[u8]]) -> Skimmer {
    let mut skimmer = Skimmer::new(plan);
    for part in parts {
        skimmer.push(part);
    }
    skimmer
}

fn show(skimmer: &Skimmer) -> String {
    let slots = skimmer.found().map(|(path, slot)| format!("{path}={slot:?}"));
    format!("{:?} {}", slots.collect::<Vec<_>>(), skimmer.is_broken())
}

fn slot<'a>(skimmer: &'a Skimmer, path: &str) -> Option<&'a Slot> {
    skimmer.found().find(|(found, _)| *found == path).map(|(_, slot)| slot)
}

fn compare(skimmer: &Skimmer, tree: &Tree) {
    let slot = |path: &str| slot(skimmer, path);
    same_text(slot("model"), last(&tree.at(&["model"])));
    let usage = tree.at(&["usage"]);
    let wanted = last(&usage).filter(|usage| matches!(usage, Tree::Object(_) | Tree::Array(_)));
    let found = slot("usage").and_then(Slot::json);
    assert_eq!(found, wanted.map(Tree::value), "the object differs");
    let filled = |places: &[&Tree]| places.iter().filter(|place| place.is_filled()).count();
    same_count(slot("choices[]"), 0, filled(&tree.at(&["choices", "[]"])));
    let contents = tree.at(&["choices", "[]", "delta", "content"]);
    same_count(slot("choices[].delta.content"), 0, filled(&contents));
    let kinds = tree.at(&["output", "[]", "type"]);
    for (index, word) in ["web", "file"].into_iter().enumerate() {
        let expected = kinds.iter().filter(|kind| kind.is_text(word)).count();
        same_count(slot("output[].type"), index, expected);
    }
    same_text(slot("[].n"), last(&tree.at(&["[]", "n"])));
}

fn compare_deep(skimmer: &Skimmer, tree: &Tree) {
    same_text(slot(skimmer, "model"), last(&tree.at(&["model"])));
    let mut caches = Vec::new();
    tree.anywhere("cache", &mut caches);
    let times = caches.iter().flat_map(|cache| cache.members("ttl"));
    same_count(slot(skimmer, "**.cache.ttl"), 0, times.filter(|ttl| ttl.is_text("1h")).count());
}

fn last<'a>(places: &[&'a Tree]) -> Option<&'a Tree> {
    places.last().copied()
}

fn same_count(slot: Option<&Slot>, index: usize, expected: usize) {
    let count = slot.map_or(0, |slot| slot.count(index));
    assert_eq!(usize::try_from(count).ok(), Some(expected), "a count differs");
}

fn same_text(slot: Option<&Slot>, place: Option<&Tree>) {
    let text = slot.and_then(Slot::text);
    match place {
        Some(Tree::Text(expected)) => {
            assert_eq!(text.unwrap_or_default(), *expected, "a text differs");
        }
        Some(Tree::Number(expected)) => {
            let number = text.as_deref().and_then(|text| text.parse::<Number>().ok());
            assert_eq!(number.as_ref(), Some(expected), "a number differs");
            assert_eq!(
                slot.and_then(Slot::number),
                whole_number(expected, text.as_deref()),
                "a whole number differs"
            );
        }
        Some(Tree::Bool(expected)) => assert_eq!(text, Some(expected.to_string())),
        Some(Tree::Null | Tree::Object(_) | Tree::Array(_)) | None => {
            assert!(slot.is_none(), "something is found where nothing is");
        }
    }
}

/// Digits alone are a whole number; `1e3` and `1.0` are not, as no provider writes counts so.
fn whole_number(number: &Number, text: Option<&str>) -> Option<u64> {
    let digits = text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.as_u64().filter(|_| digits)
}

/// A document with its duplicate keys, in its order.
#[derive(Debug)]
enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Tree {
    /// Values at a path, in the order of the document; `[]` is every element.
    fn at(&self, path: &[&str]) -> Vec<&Self> {
        let Some((step, rest)) = path.split_first() else { return vec![self] };
        let inner: Vec<&Self> = match self {
            Self::Array(elements) if *step == "[]" => elements.iter().collect(),
            Self::Object(_) => self.members(step),
            _ => Vec::new(),
        };
        inner.into_iter().flat_map(|tree| tree.at(rest)).collect()
    }

    fn members(&self, key: &str) -> Vec<&Self> {
        let Self::Object(members) = self else { return Vec::new() };
        members.iter().filter(|(name, _)| name == key).map(|(_, tree)| tree).collect()
    }

    /// Values under a key at any depth.
    fn anywhere<'a>(&'a self, key: &str, out: &mut Vec<&'a Self>) {
        match self {
            Self::Array(elements) => elements.iter().for_each(|tree| tree.anywhere(key, out)),
            Self::Object(members) => {
                for (name, tree) in members {
                    out.extend((name == key).then_some(tree));
                    tree.anywhere(key, out);
                }
            }
            _ => {}
        }
    }

    fn is_text(&self, expected: &str) -> bool {
        matches!(self, Self::Text(text) if text == expected)
    }

    fn is_filled(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false)) && !self.is_text("")
    }

    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(bool) => Value::Bool(*bool),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::Array(elements) => elements.iter().map(Self::value).collect(),
            Self::Object(members) => {
                let member = |(key, tree): &(String, Self)| (key.clone(), tree.value());
                Value::Object(members.iter().map(member).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}
