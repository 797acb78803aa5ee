//! A YAML node comes in; the value with its place goes out. `null` is refused wherever it stands.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_saphyr::Spanned;

/// What is said about `null`, in one place.
const NULL: &str = "null means nothing here: write a value, or leave the key out";

/// A value and where it stands in its text; the place is no part of the value.
#[derive(Clone, Debug, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Line, from one.
    pub line: u64,
    /// Column, from one.
    pub column: u64,
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<T>::deserialize(from)?;
        Ok(Self { value, line: referenced.line(), column: referenced.column() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Reads a value that may be left out, but not be `null`.
pub(in crate::policy) fn given<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    match Option::<T>::deserialize(from)? {
        Some(value) => Ok(Some(value)),
        None => Err(D::Error::custom(NULL)),
    }
}

/// Patterns that a value is held against: one, a list of which one must match, or `{in: …, not: …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// One of them must match. Empty: nothing is asked.
    pub any: Vec<At<String>>,
    /// None of them may match.
    pub not: Vec<At<String>>,
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

/// `{in: …, not: …}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides {
    #[serde(default, rename = "in", deserialize_with = "given")]
    any: Option<Texts>,
    #[serde(default, deserialize_with = "given")]
    not: Option<Texts>,
}

/// One text or a list of them.
struct Texts(Vec<At<String>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let values = At::<Values>::deserialize(from)?;
        if values.value.not.is_empty() && !values.value.any.is_empty() {
            return Ok(Self(placed(&values)));
        }
        Err(D::Error::custom("write a text or a list of texts here"))
    }
}

/// The texts of a value; a single text stands where the value stands.
pub(in crate::policy) fn placed(values: &At<Values>) -> Vec<At<String>> {
    let place = |text: &At<String>| match text.line {
        0 => At { value: text.value.clone(), line: values.line, column: values.column },
        _ => text.clone(),
    };
    values.value.any.iter().map(place).collect()
}

impl<'de> Visitor<'de> for Any {
    type Value = Values;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text, a list of texts, or {in: …, not: …}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values { any: vec![At { value: text.to_owned(), line: 0, column: 0 }], not: Vec::new() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Values, A::Error> {
        let mut any = Vec::new();
        while let Some(text) = all.next_element::<At<Text>>()? {
            any.push(At { value: text.value.0, line: text.line, column: text.column });
        }
        if any.is_empty() {
            return Err(A::Error::custom("an empty list matches nothing: leave the key out"));
        }
        Ok(Values { any, not: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Values, A::Error> {
        let sides = Sides::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let list = |side: Option<Texts>| side.map(|texts| texts.0).unwrap_or_default();
        let values = Values { any: list(sides.any), not: list(sides.not) };
        if values == Values::default() {
            return Err(A::Error::custom("write `in`, `not` or both: {} asks nothing"));
        }
        Ok(values)
    }

    fn visit_unit<E: Error>(self) -> Result<Values, E> {
        Err(E::custom(NULL))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Values, E> {
        Err(E::custom(format_args!("{value} is no text: put it into quotes if it is a name")))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Values, E> {
        Err(E::custom(format_args!("{value} is no text: put it into quotes if it is a name")))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Values, E> {
        Err(E::custom(format_args!("{value} is no text: put it into quotes if it is a name")))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Values, E> {
        Err(E::custom(format_args!("{value} is no text: put it into quotes if it is a name")))
    }
}

/// A text that is written as one.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut values = from.deserialize_any(Any)?;
        match (values.any.pop(), values.any.is_empty(), values.not.is_empty()) {
            (Some(text), true, true) if text.line == 0 => Ok(Self(text.value)),
            _ => Err(D::Error::custom("a list may hold texts only")),
        }
    }
}

impl JsonSchema for Values {
    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let texts = json_schema!({
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
            ]
        });
        json_schema!({
            "description": "Patterns: one, a list of which one must match, or {in: …, not: …}. `*` stays within a segment, `**` does not; a lone `*` is any value.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
                {
                    "type": "object",
                    "properties": {"in": texts, "not": texts},
                    "additionalProperties": false,
                    "minProperties": 1
                }
            ]
        })
    }
}
