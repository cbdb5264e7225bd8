//! The metadata block as JSON: YAML 1.2's core schema, string keys only, and a bound on everything.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, MessageFormatter, NonFiniteFloatPolicy, Options};

use super::{CardError, METADATA_BYTES_MAX};

/// How deep sequences and mappings may nest.
const DEPTH_MAX: usize = 64;
/// Nodes of the document, aliases expanded. Reading one takes some microseconds, and the densest real blocks (the
/// `dataset_info` of a dataset with hundreds of configurations) have one per eight bytes.
const NODES_MAX: usize = 200_000;
/// Bytes of all keys and strings, aliases expanded.
const TEXT_BYTES_MAX: usize = 4 * METADATA_BYTES_MAX;
const TOO_COMPLEX: &str = "the metadata is too large, too deep, or expands too many aliases";

/// Reads a metadata block. Dates stay strings as written, `no` is Norwegian, `.nan` and `.inf` are strings, and a
/// duplicate key is an error because `datasets` raises on one. An empty block is an empty object.
pub fn parse(yaml: &str) -> Result<Value, CardError> {
    parse_at(yaml, 0)
}

/// [`parse`] for a block that stands below `lines_above` lines, so that an error names the line of the README.
pub(super) fn parse_at(yaml: &str, lines_above: usize) -> Result<Value, CardError> {
    if yaml.len() > METADATA_BYTES_MAX {
        return Err(CardError::TooLarge);
    }
    let spent = Spent::default();
    let node = Node { spent: &spent, depth: 0 };
    let read =
        serde_saphyr::with_deserializer_from_str_with_options(yaml, options(), |de| node.deserialize(de));
    match read {
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => Err(CardError::NotAMapping { found: kind_of(&other) }),
        Err(error) => Err(describe(&error, lines_above)),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_events: 3 * NODES_MAX,
            max_nodes: NODES_MAX,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: TEXT_BYTES_MAX,
            max_total_scalar_bytes: TEXT_BYTES_MAX,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        null_as_string: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn describe(error: &serde_saphyr::Error, lines_above: usize) -> CardError {
    let message = message_of(error);
    let (line, column) = match error.location() {
        Some(at) if at.line() > 0 => (lines_above as u64 + at.line(), at.column()),
        _ => (lines_above as u64 + 1, 1),
    };
    CardError::Yaml { line, column, message }
}

fn message_of(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::AliasError { error, .. } => message_of(error),
        serde_saphyr::Error::Budget { .. } | serde_saphyr::Error::AliasReplayLimitExceeded { .. } => {
            TOO_COMPLEX.to_owned()
        }
        serde_saphyr::Error::MultipleDocuments { .. } => "a second YAML document begins here".to_owned(),
        error => serde_saphyr::UserMessageFormatter.format_message(error).into_owned(),
    }
}

/// What a person calls the kind of `value`.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// What has been read so far. The parser has budgets too; this one holds whatever it counts.
#[derive(Default)]
struct Spent {
    nodes: Cell<usize>,
    text_bytes: Cell<usize>,
}

impl Spent {
    fn add<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        self.text_bytes.set(self.text_bytes.get() + text.len());
        if self.nodes.get() > NODES_MAX || self.text_bytes.get() > TEXT_BYTES_MAX {
            return Err(E::custom(TOO_COMPLEX));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Node<'s> {
    spent: &'s Spent,
    depth: usize,
}

impl Node<'_> {
    fn child<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("lists and mappings nest deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn scalar<E: serde::de::Error>(self, value: impl Into<Value>) -> Result<Value, E> {
        self.spent.add("")?;
        Ok(value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.scalar(number),
            None => self.scalar(value.to_string()),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.spent.add(value)?;
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spent.add("")?;
        let child = self.child()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(child)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.spent.add("")?;
        let child = self.child()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.spent.add(&key)?;
            let value = entries.next_value_seed(child)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key \"{key}\"")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_follow_the_core_schema() {
        for (yaml, expected) in [
            ("no", json!("no")),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("true", json!(true)),
            ("False", json!(false)),
            ("~", json!(null)),
            ("", json!(null)),
            ("null", json!(null)),
            ("1.10", json!(1.1)),
            // An integer to the schema; the parser tells it as a float of the same value.
            ("007", json!(7.0)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("1e3", json!(1000.0)),
            ("1_000", json!("1_000")),
            ("1:30", json!("1:30")),
            ("2024-05-01", json!("2024-05-01")),
            ("2024-05-01T10:00:00Z", json!("2024-05-01T10:00:00Z")),
            (".nan", json!(".nan")),
            ("-.inf", json!("-.inf")),
            ("1e999", json!(".inf")),
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!(18446744073709551616.0)),
            ("!!str 1", json!("1")),
            ("'no'", json!("no")),
            ("10K<n<100K", json!("10K<n<100K")),
            ("|\n  a\n  b", json!("a\nb\n")),
        ] {
            assert_eq!(parse(&format!("k: {yaml}\n")), Ok(json!({ "k": expected })), "{yaml}");
        }
    }

    #[test]
    fn keys_are_strings() {
        let yaml = "1: a\ntrue: b\nno: c\nnull: d\n1.5: e\n";
        assert_eq!(parse(yaml), Ok(json!({ "1": "a", "true": "b", "no": "c", "null": "d", "1.5": "e" })));
        assert!(parse("? [a, b]\n: c\n").is_err());
    }

    #[test]
    fn an_empty_block_is_an_empty_object() {
        for yaml in ["", "\n", "# only a comment", "~", "{}"] {
            assert_eq!(parse(yaml), Ok(json!({})), "{yaml:?}");
        }
        assert_eq!(parse("- a"), Err(CardError::NotAMapping { found: "a list" }));
        assert_eq!(parse("just text"), Err(CardError::NotAMapping { found: "text" }));
    }

    fn error(yaml: &str) -> String {
        let error = parse_at(yaml, 1).expect_err(yaml).to_string();
        assert!(error.len() < 400, "{error}");
        error
    }

    #[test]
    fn errors_name_the_line_of_the_readme() {
        for (yaml, expected) in [
            ("a: 1\nb: [1, 2\n", "line 3, column 4: unclosed bracket '['"),
            ("a: 1\nb: 1\na: 2\n", "line 4, column 1: duplicate mapping key `a` is not allowed here"),
            ("a: b: c\n", "line 2, column 5: mapping values are not allowed in this context"),
            ("a: *x\n", "line 2, column 4: reference to unknown value"),
            ("a: 'x\n", "line 2, column 4: unclosed quote"),
            ("a: @x\n", "line 2, column 4: unexpected character: `@'"),
            ("a: !!python/tuple [1]\n", "line 2, column 19: unsupported tag `!!python/tuple`"),
            ("a: &x [*x]\n", "line 2, column 8: Recursive reference not allowed here"),
            ("a: 1\n---\nb: 2\n", "line 4, column 1: a second YAML document begins here"),
        ] {
            assert_eq!(error(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn anchors_work_and_bombs_are_refused() {
        let merged = parse("base: &b {x: 1}\nother: {<<: *b, y: 2}\nagain: *b\n");
        assert_eq!(merged, Ok(json!({ "base": {"x": 1}, "other": {"x": 1, "y": 2}, "again": {"x": 1} })));
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
        }
        assert!(error(&laughs).ends_with(TOO_COMPLEX));
        let big = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 100].join(", "));
        assert!(error(&big).ends_with(TOO_COMPLEX));
    }

    #[test]
    fn depth_is_bounded() {
        let flow = |depth: usize| format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&flow(DEPTH_MAX - 1)).is_ok());
        assert!(parse(&flow(DEPTH_MAX)).is_err());
        assert!(parse(&flow(400_000)).is_err());
        let block: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth.min(500)))).collect();
        assert!(parse(&block).is_err());
    }
}
