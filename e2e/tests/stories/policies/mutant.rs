//! Mutants: a policy with one thing in it left out or weakened. The cases of its rule have to notice.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::expression;

/// A policy that is wrong in one place.
#[derive(Debug)]
pub struct Mutant {
    pub rule: String,
    /// What was done to it; `None`: nothing, and nobody must notice.
    pub what: Option<String>,
    /// The spec of the policy.
    pub spec: Value,
}

/// All of a policy, the unchanged one first.
pub fn of(rule: &str, policy: &Value) -> Result<Vec<Mutant>> {
    let spec = &policy["spec"];
    let mut all = Vec::new();
    let mut add = |what: Option<String>, spec: Value| all.push(Mutant { rule: rule.to_owned(), what, spec });
    add(None, spec.clone());
    for (path, what, replacement) in scopes(spec)?.into_iter().chain(expressions(spec)) {
        let mut mutant = spec.clone();
        *mutant.pointer_mut(&path).with_context(|| format!("{rule} has no {path}"))? = replacement;
        add(Some(format!("{path}: {what}")), mutant);
    }
    Ok(all)
}

type Change = (String, String, Value);

/// What a policy looks at: a rule, an operation, a resource less; every namespace.
fn scopes(spec: &Value) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let rules = spec["matchConstraints"]["resourceRules"].as_array().context("no resourceRules")?;
    let path = "/matchConstraints/resourceRules";
    for (at, rule) in rules.iter().enumerate() {
        // A rule alone can't be left out; it looks at what is not there instead.
        changes.push((format!("{path}/{at}/apiGroups"), "left out".into(), json!(["nowhere.example"])));
        for list in ["operations", "resources"] {
            for (item, without) in one_less(rule[list].as_array().context("no list")?) {
                changes.push((format!("{path}/{at}/{list}"), format!("without {item}"), without));
            }
        }
    }
    if spec["matchConstraints"]["namespaceSelector"].is_object() {
        changes.push(("/matchConstraints/namespaceSelector".into(), "every namespace".into(), json!({})));
    }
    Ok(changes)
}

fn one_less(list: &[Value]) -> Vec<(String, Value)> {
    let without =
        |at: usize| list.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, v)| v.clone()).collect();
    match list.len() {
        0 | 1 => Vec::new(),
        _ => list.iter().enumerate().map(|(at, item)| (item.to_string(), without(at))).collect(),
    }
}

fn expressions(spec: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for (list, wholes) in
        [("matchConditions", &["false", "true"][..]), ("variables", &[]), ("validations", &["true"])]
    {
        for (at, item) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("/{list}/{at}/expression");
            let text = item["expression"].as_str().unwrap_or_default();
            for whole in wholes {
                changes.push((path.clone(), format!("all of it is {whole}"), json!(whole)));
            }
            changes.extend(
                expression::mutations(text).into_iter().map(|(what, m)| (path.clone(), what, json!(m))),
            );
        }
    }
    changes
}
