//! The list of tags of one repository while it is built.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::texts;
use super::{TAG_CHARS_MAX, TAGS_MAX};

/// Clients filter on it, so it is the same everywhere.
const REGION: &str = "region:us";

/// Ordered and without duplicates. What does not fit is dropped.
#[derive(Default)]
pub(super) struct Tags {
    list: Vec<String>,
    seen: HashSet<String>,
}

impl Tags {
    pub fn push(&mut self, tag: &str) {
        // One place is kept for the region.
        if self.list.len() < TAGS_MAX - 1 {
            self.insert(clean(tag));
        }
    }

    /// `prefix` before each string of a field.
    pub fn push_field(&mut self, prefix: &str, field: Option<&Value>) {
        for text in texts(field).take(TAGS_MAX) {
            self.push(&format!("{prefix}{text}"));
        }
    }

    /// The author's own tags: at most half of the list, or they would crowd out what filters rely on.
    pub fn push_free(&mut self, card: Option<&Value>) {
        for text in texts(card.and_then(|card| card.get("tags"))).take(TAGS_MAX / 2) {
            self.push(&text);
        }
    }

    pub fn push_region(&mut self) {
        self.insert(REGION.to_owned());
    }

    pub fn into_list(self) -> Vec<String> {
        self.list
    }

    fn insert(&mut self, tag: String) {
        if !tag.is_empty() && self.seen.insert(tag.clone()) {
            self.list.push(tag);
        }
    }
}

fn clean(tag: &str) -> String {
    let kept: String = tag.chars().filter(|c| !c.is_control()).take(TAG_CHARS_MAX).collect();
    kept.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bounded_and_without_duplicates() {
        let mut tags = Tags::default();
        let free: Vec<Value> = (0..5_000).map(|n| json!(format!("{n}-{}", "\u{e9}".repeat(1_000)))).collect();
        tags.push_free(Some(&json!({ "tags": free })));
        tags.push(" a\nb ");
        tags.push("ab");
        tags.push("\n");
        for n in 0..5_000 {
            tags.push(&n.to_string());
        }
        tags.push_region();
        let list = tags.into_list();
        assert_eq!(list.len(), TAGS_MAX);
        assert_eq!(list[0].chars().count(), TAG_CHARS_MAX);
        assert_eq!(list[TAGS_MAX / 2], "ab");
        assert_eq!(list[TAGS_MAX - 1], REGION);
    }
}
