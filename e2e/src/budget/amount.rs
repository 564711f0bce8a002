//! Amounts of a resource, read without the operator's own reader: a mistake in that must not hide itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// Thousandths of the unit, by resource name.
pub type Amounts = BTreeMap<String, i128>;

/// From the quantities of an object, as Kubernetes writes them.
///
/// # Errors
/// Names what is no quantity.
pub fn amounts(quantities: &Value) -> Result<Amounts> {
    let pairs = quantities.as_object().into_iter().flatten();
    pairs.map(|(resource, quantity)| Ok((resource.clone(), parse(quantity)?))).collect()
}

fn parse(quantity: &Value) -> Result<i128> {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: i128 = number.parse().with_context(|| format!("quantity {text:?}"))?;
    let thousandths = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        other => anyhow::bail!("quantity {text:?} has the suffix {other:?}"),
    };
    Ok(number * thousandths)
}

/// For people.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn show(resource: &str, amount: i128) -> String {
    let units = amount as f64 / 1000.0;
    if resource.ends_with("memory") {
        format!("{:.2}Gi", units / f64::from(1 << 30))
    } else {
        format!("{units}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_the_api_server_writes() {
        let read = amounts(&json!({"a": "100m", "b": "2", "c": "1Gi", "d": 3, "e": "-5", "f": "0"})).unwrap();
        assert_eq!(read.values().copied().collect::<Vec<_>>(), [100, 2000, 1000 << 30, 3000, -5000, 0]);
        assert!(amounts(&json!({"a": "1.5"})).is_err());
        assert!(amounts(&json!({"a": ""})).is_err());
    }
}
