//! The shape of `model-index`, the older form of evaluation results.
//!
//! `huggingface_hub` drops an index that it cannot read and goes on, so nothing here is more than a warning.

use serde_json::Value;

/// What `eval_results` of the client would miss, one sentence each, at most `max`.
pub(super) fn warnings(index: &Value, max: usize) -> Vec<String> {
    let mut notes = Notes { list: Vec::new(), max };
    for (at, model) in notes.items(index, "model-index") {
        notes.require(model, &at, "name");
        for (at, result) in notes.required_items(model, &at, "results") {
            if let Some(task) = notes.require(result, &at, "task") {
                notes.require(task, &format!("{at}.task"), "type");
            }
            if let Some(dataset) = notes.require(result, &at, "dataset") {
                notes.require(dataset, &format!("{at}.dataset"), "type");
                notes.require(dataset, &format!("{at}.dataset"), "name");
            }
            for (at, metric) in notes.required_items(result, &at, "metrics") {
                notes.require(metric, &at, "type");
                notes.require(metric, &at, "value");
            }
            if let Some(source) = result.get("source") {
                notes.require(source, &format!("{at}.source"), "url");
            }
        }
    }
    notes.list
}

struct Notes {
    list: Vec<String>,
    max: usize,
}

impl Notes {
    fn add(&mut self, note: String) {
        if self.list.len() < self.max {
            self.list.push(note);
        }
    }

    fn require<'v>(&mut self, owner: &'v Value, at: &str, key: &str) -> Option<&'v Value> {
        let found = owner.get(key).filter(|value| !value.is_null());
        if found.is_none() {
            self.add(format!("\"{at}.{key}\" is required, or evaluation results are not shown"));
        }
        found
    }

    fn required_items<'v>(&mut self, owner: &'v Value, at: &str, key: &str) -> Vec<(String, &'v Value)> {
        let list = self.require(owner, at, key);
        list.map(|list| self.items(list, &format!("{at}.{key}"))).unwrap_or_default()
    }

    /// The items of a list with their paths. Nobody reads a thousand warnings, so nobody needs the rest checked.
    fn items<'v>(&mut self, list: &'v Value, at: &str) -> Vec<(String, &'v Value)> {
        let Some(items) = list.as_array() else {
            self.add(format!("\"{at}\" must be a list, or evaluation results are not shown"));
            return Vec::new();
        };
        if self.list.len() >= self.max {
            return Vec::new();
        }
        items.iter().take(1_000).enumerate().map(|(n, item)| (format!("{at}[{n}]"), item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_what_is_missing() {
        let good = json!([{ "name": "m", "results": [{
            "task": {"type": "t"}, "dataset": {"type": "d", "name": "D"}, "metrics": [{"type": "acc", "value": 0.9}]
        }] }]);
        assert!(warnings(&good, 10).is_empty());
        let bad = json!([{ "name": "m", "results": [{ "task": {}, "dataset": {"type": "d"}, "metrics": 1, "source": {} }] }]);
        let paths: Vec<_> =
            warnings(&bad, 10).iter().map(|note| note.split('"').nth(1).unwrap().to_owned()).collect();
        let at = "model-index[0].results[0]";
        let expected =
            [".task.type", ".dataset.name", ".metrics", ".source.url"].map(|key| format!("{at}{key}"));
        assert_eq!(paths, expected);
        assert_eq!(warnings(&json!({"a": 1}), 10).len(), 1);
        assert_eq!(warnings(&json!(vec![json!(1); 100_000]), 10).len(), 10);
    }
}
