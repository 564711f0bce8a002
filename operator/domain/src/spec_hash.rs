//! The hash that an approval is bound to: SHA-256 over the spec as canonical JSON (keys sorted, no spaces).

use serde::Serialize;
use sha2::{Digest, Sha256};

/// `sha256:` and 64 hexadecimal digits. Fields that are absent do not count, so a newer operator that knows more
/// optional fields arrives at the same hash.
///
/// # Errors
/// When the spec can't be written as JSON, which no spec of this API does.
pub fn of(spec: &impl Serialize) -> Result<String, serde_json::Error> {
    // A map of serde_json sorts its keys.
    let canonical = serde_json::to_vec(&serde_json::to_value(spec)?)?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(canonical))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_count_and_every_value_does() {
        let hash = |text: &str| super::of(&serde_json::from_str::<serde_json::Value>(text).unwrap()).unwrap();
        assert_eq!(hash(r#"{"a":1,"b":{"c":2,"d":3}}"#), hash(r#"{"b":{"d":3,"c":2},"a":1}"#));
        assert_ne!(hash(r#"{"a":1}"#), hash(r#"{"a":2}"#));
        assert!(super::of(&json!({})).unwrap().starts_with("sha256:44136fa3"));
    }
}
