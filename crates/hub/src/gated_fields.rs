//! What an owner wants to know of those who ask for access: `extra_gated_fields` of the card, a mapping of labels to types.
//!
//! Everything in it has to be filled in. Types are `text`, `checkbox`, `date_picker`, `country`, `select` (with
//! `options`), each as a word or as `type` of a mapping; what is of another type is text. `ip_location` is nothing that
//! people fill in, and is not asked for here.

use serde_json::{Map, Value};

/// Named in a message; the rest is counted.
const NAMED_MAX: usize = 10;

/// Compares what was `given` with what is `declared`; what is wrong, in words for who asks. More may be given.
pub(crate) fn check(declared: &Map<String, Value>, given: &Map<String, Value>) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (label, kind) in declared {
        let needs = match Kind::of(kind) {
            Kind::Nothing => continue,
            kind => kind.lacks(given.get(label)),
        };
        wrong.extend(needs.map(|needs| format!("\"{label}\" ({needs})")));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let more = wrong.len().saturating_sub(NAMED_MAX);
    wrong.truncate(NAMED_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Err(format!(
        "the owner of this repository asks for more: fill in {}{more}, as fields of this request",
        wrong.join(", ")
    ))
}

enum Kind<'a> {
    Text,
    Checkbox,
    Date,
    Country,
    Select(&'a [Value]),
    Nothing,
}

impl Kind<'_> {
    fn of(value: &Value) -> Kind<'_> {
        let name = value.as_str().or_else(|| value.get("type")?.as_str());
        match name {
            Some("checkbox") => Kind::Checkbox,
            Some("date_picker") => Kind::Date,
            Some("country") => Kind::Country,
            Some("ip_location") => Kind::Nothing,
            Some("select") => {
                let options = value.get("options").and_then(Value::as_array);
                options.map_or(Kind::Text, |options| Kind::Select(options))
            }
            _ => Kind::Text,
        }
    }

    /// What has to be given, if it was not.
    fn lacks(&self, given: Option<&Value>) -> Option<String> {
        // A form has text only.
        let text = match given {
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Bool(true)) => "true".to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let (good, needs) = match self {
            Kind::Nothing => (true, String::new()),
            Kind::Text => (!text.is_empty(), "some text".to_owned()),
            Kind::Country => (!text.is_empty(), "a country".to_owned()),
            Kind::Date => (is_date(&text), "a date, as 2026-01-31".to_owned()),
            Kind::Checkbox => {
                let checked = ["true", "on", "yes", "1"].iter().any(|yes| text.eq_ignore_ascii_case(yes));
                (checked, "has to be accepted: true".to_owned())
            }
            Kind::Select(options) => {
                let chosen = options.iter().any(|option| values(option).any(|value| value == text));
                (!text.is_empty() && chosen, one_of(options))
            }
        };
        (!good).then_some(needs)
    }
}

/// An option is text, or has a label and a value, either of which may be sent.
fn values(option: &Value) -> impl Iterator<Item = String> + '_ {
    let parts = [Some(option), option.get("value"), option.get("label")];
    parts.into_iter().flatten().filter_map(|part| match part {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn one_of(options: &[Value]) -> String {
    let names: Vec<String> =
        options.iter().filter_map(|option| values(option).next()).take(NAMED_MAX).collect();
    let more = if options.len() > NAMED_MAX { ", …" } else { "" };
    format!("one of {}{more}", names.join(", "))
}

/// Year, month and day. That the month has so many days is not looked at.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_number = |part: &str, length: usize, from: u32, to: u32| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse().is_ok_and(|number: u32| (from..=to).contains(&number))
    };
    match parts[..] {
        [year, month, day] => {
            is_number(year, 4, 1, 9999) && is_number(month, 2, 1, 12) && is_number(day, 2, 1, 31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(declared: &Value, given: &Value) -> Result<(), String> {
        check(declared.as_object().unwrap(), given.as_object().unwrap())
    }

    #[test]
    fn everything_that_is_declared_has_to_be_filled_in() {
        let declared = json!({
            "Company": "text", "Country": "country", "Since": "date_picker", "I agree": "checkbox", "Where": "ip_location",
            "Use": { "type": "select", "options": ["Research", { "label": "Something else", "value": "other" }, 7] },
            "Odd": { "type": "slider" },
        });
        let good = json!({
            "Company": "Acme", "Country": "FR", "Since": "2026-01-31", "I agree": "on", "Use": "other", "Odd": "x", "more": "y",
        });
        assert_eq!(checked(&declared, &good), Ok(()));
        for (label, values) in [
            ("I agree", json!([true, "true", "Yes", 1])),
            ("Use", json!(["Research", "Something else", 7, "7"])),
            ("Company", json!([1, "x"])),
        ] {
            for value in values.as_array().unwrap() {
                let mut given = good.clone();
                given[label] = value.clone();
                assert_eq!(checked(&declared, &given), Ok(()), "{label}: {value}");
            }
        }
        for (label, values, says) in [
            ("Company", json!(["", "  ", null, [], {}, false]), "some text"),
            ("Country", json!([""]), "a country"),
            (
                "Since",
                json!(["soon", "2026-1-31", "2026-13-01", "2026-01-32", "2026-01-31T00", "0000-01-01"]),
                "a date",
            ),
            ("I agree", json!([false, "false", "off", "", 0, null]), "has to be accepted"),
            ("Use", json!(["", "Else", 8, null, {"value": "other"}]), "one of Research, other, 7"),
        ] {
            for value in values.as_array().unwrap() {
                let mut given = good.clone();
                given[label] = value.clone();
                let error = checked(&declared, &given).unwrap_err();
                assert!(error.contains(&format!("\"{label}\" ({says}")), "{label}: {value}: {error}");
            }
        }
        let error = checked(&declared, &json!({})).unwrap_err();
        assert!(
            ["Company", "Country", "Since", "I agree", "Use", "Odd"]
                .iter()
                .all(|label| error.contains(label))
        );
        assert!(!error.contains("Where"));
    }

    #[test]
    fn what_is_said_is_bounded() {
        let declared: Map<String, Value> = (0..100).map(|n| (format!("f{n}"), "text".into())).collect();
        let error = check(&declared, &Map::new()).unwrap_err();
        assert!(error.contains(", and 90 more") && error.len() < 1000, "{error}");
        assert_eq!(check(&Map::new(), &Map::new()), Ok(()));
    }
}
