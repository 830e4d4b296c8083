//! Values in JSON answers, as settings name them.

use serde_json::Value;

/// What `key` names in `answer`. A pointer begins with `/`; another key is
/// looked for as it stands, then by its dots.
pub fn find<'v>(answer: &'v Value, key: &str) -> Option<&'v Value> {
    if key.starts_with('/') {
        return answer.pointer(key);
    }
    answer.get(key).or_else(|| {
        key.split('.').try_fold(answer, |value, part| match value {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::find;

    #[test]
    fn a_value_is_found_by_key_by_dots_and_by_pointer() {
        let answer = json!({"a.b": 1, "a": {"b": 2, "list": [3, {"c": 4}]}});
        for (key, expected) in [("a.b", 1), ("/a/b", 2), ("a.list.0", 3), ("a.list.1.c", 4)] {
            assert_eq!(find(&answer, key), Some(&json!(expected)), "{key}");
        }
        for key in ["b", "a.c", "a.list.2", "a.list.x", "/a/x"] {
            assert_eq!(find(&answer, key), None, "{key}");
        }
    }
}
