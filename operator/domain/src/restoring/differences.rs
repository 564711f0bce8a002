//! Differences between two objects, for people to read.

use serde_json::Value;

/// Lines for one object end here.
const LINES: usize = 20;
/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// `spec.replicas: 3 → 2`, a line for each field that becomes another one. What is only in `live` is not a difference,
/// but in the contents of ConfigMaps and Secrets. Values of Secrets are never shown.
#[must_use]
pub fn differences(live: &Value, wanted: &Value) -> Vec<String> {
    lines(live, wanted, false)
}

/// As [`differences`], between two states of the same object: what is only in the earlier one was removed.
#[must_use]
pub fn changes(earlier: &Value, later: &Value) -> Vec<String> {
    lines(earlier, later, true)
}

fn lines(live: &Value, wanted: &Value, whole: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let how = How { secret: wanted["kind"] == "Secret" || live["kind"] == "Secret", whole };
    compare("", live, wanted, how, &mut lines);
    let hidden = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if hidden > 0 {
        lines.push(format!("… {hidden} more"));
    }
    lines
}

#[derive(Clone, Copy)]
struct How {
    /// Values are not shown.
    secret: bool,
    /// What is missing on one side is a difference everywhere.
    whole: bool,
}

fn compare(path: &str, live: &Value, wanted: &Value, how: How, lines: &mut Vec<String>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (key, value) in wanted {
                if path.starts_with("metadata") && key.starts_with("tripod.cloud/restore") {
                    continue;
                }
                compare(&under(key), live.get(key).unwrap_or(&Value::Null), value, how, lines);
            }
            if how.whole || matches!(path, "data" | "binaryData") {
                for key in live.keys().filter(|key| !wanted.contains_key(*key)) {
                    lines.push(format!("{}: removed", under(key)));
                }
            }
        }
        (Value::Array(live), Value::Array(wanted)) => {
            for (at, value) in wanted.iter().enumerate() {
                let path = format!("{path}[{at}]");
                compare(&path, live.get(at).unwrap_or(&Value::Null), value, how, lines);
            }
            if live.len() > wanted.len() {
                lines.push(format!("{path}: {} instead of {}", wanted.len(), live.len()));
            }
        }
        (live, wanted) if live == wanted => {}
        (Value::Null, Value::Object(fields)) if fields.is_empty() => {}
        (Value::Null, Value::Array(items)) if items.is_empty() => {}
        (live, wanted) => {
            let hidden = how.secret && (path.starts_with("data") || path.starts_with("stringData"));
            lines.push(if hidden {
                format!("{path}: changed (not shown)")
            } else {
                format!("{path}: {} → {}", shown(live), shown(wanted))
            });
        }
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        return "nothing".to_owned();
    }
    let text = value.to_string();
    let start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() { format!("{start}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_change_are_shown_with_both_values() {
        let live = json!({"spec": {"replicas": 3, "kept": 1, "list": [1, 2]}, "data": {"a": "x", "b": "y"}});
        let wanted = json!({"spec": {"replicas": 2, "list": [1]}, "data": {"a": "x"}, "extra": {"n": "v"}});
        assert_eq!(
            differences(&live, &wanted),
            [
                "data.b: removed",
                "extra: nothing → {\"n\":\"v\"}",
                "spec.list: 1 instead of 2",
                "spec.replicas: 3 → 2"
            ]
        );
    }

    #[test]
    fn what_a_secret_holds_is_not_shown() {
        let live = json!({"kind": "Secret", "data": {"password": "b2xk"}});
        let wanted = json!({"kind": "Secret", "data": {"password": "bmV3"}});
        let lines = differences(&live, &wanted).join("\n");
        assert!(
            lines.contains("data.password") && !lines.contains("b2xk") && !lines.contains("bmV3"),
            "{lines}"
        );
        let whole = differences(&json!({"kind": "Secret"}), &wanted).join("\n");
        assert!(!whole.contains("bmV3"), "{whole}");
    }

    #[test]
    fn between_two_states_what_is_gone_is_a_change_too() {
        let earlier =
            json!({"kind": "Secret", "data": {"password": "b2xk"}, "metadata": {"labels": {"a": "b"}}});
        let later = json!({"kind": "Secret", "data": {"password": "bmV3"}, "metadata": {}});
        let words = ["data.password: changed (not shown)", "metadata.labels: removed"];
        assert_eq!(changes(&earlier, &later), words);
        assert_eq!(differences(&earlier, &later), words[..1]);
        assert_eq!(changes(&earlier, &earlier), [""; 0]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: Value =
            (0..50).map(|n| (format!("k{n:02}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
        let lines = differences(&json!({}), &json!({"data": many, "kind": "ConfigMap"}));
        assert_eq!(lines.len(), 2, "{lines:?}");
        let lines = differences(&json!({"data": {}}), &json!({"data": many}));
        assert_eq!((lines.len(), lines[20].as_str()), (21, "… 30 more"));
    }
}
