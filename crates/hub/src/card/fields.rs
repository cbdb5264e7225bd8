//! Reading a field of a card whatever its author wrote.

use std::borrow::Cow;

use serde_json::Value;

/// The strings of a field that is one value or a list of them, trimmed, without empty ones.
pub(super) fn texts(field: Option<&Value>) -> impl Iterator<Item = Cow<'_, str>> {
    let items = match field {
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    items.iter().filter_map(text_of)
}

/// The first string of a field.
pub(super) fn text(field: Option<&Value>) -> Option<String> {
    texts(field).next().map(Cow::into_owned)
}

fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.trim()),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Whether `id` can name a repository: `name` or `owner/name`. A path on somebody's disk, which trainers write into
/// `base_model`, cannot.
pub(super) fn is_repo_id(id: &str) -> bool {
    let segment = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let bytes = part.as_bytes();
        bytes.len() <= 96
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    match id.split_once('/') {
        Some((owner, name)) => segment(owner) && segment(name),
        None => segment(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_takes_what_it_can() {
        let read = |value: Value| texts(Some(&value)).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(read(json!(" mit ")), ["mit"]);
        assert_eq!(read(json!(["a", 2024, true, null, "", ["b"], {"c": 1}])), ["a", "2024", "true"]);
        assert!(read(json!(null)).is_empty());
        assert!(read(json!({"a": "b"})).is_empty());
    }

    #[test]
    fn repo_ids() {
        for id in ["gpt2", "a/b", "Qwen/Qwen2.5-7B", "org_/x_"] {
            assert!(is_repo_id(id), "{id}");
        }
        for id in [
            "",
            "/data/llama",
            "./x",
            "a/b/c",
            "a b",
            "a/",
            "../x",
            "https://example.org/a",
            "x-",
            &"a".repeat(97),
        ] {
            assert!(!is_repo_id(id), "{id}");
        }
    }
}
