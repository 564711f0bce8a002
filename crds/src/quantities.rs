//! Resources with their amounts, as a ResourceQuota writes them. Every map of them in this API has these rules.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// Amounts by resource name.
pub type Quantities = BTreeMap<String, Quantity>;

/// Names as quotas have them, and amounts that are none of: malformed, negative, larger than an exbi.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"x-kubernetes-int-or-string": true, "maxLength": 32},
        "x-kubernetes-validations": [
            {"rule": "self.all(r, isQuantity(string(self[r])))",
             "message": "an amount is no quantity; write it like 500m, 8 or 16Gi"},
            {"rule": "self.all(r, !isQuantity(string(self[r])) || (quantity(string(self[r])).compareTo(quantity('0')) >= 0 && quantity(string(self[r])).compareTo(quantity('1Ei')) <= 0))",
             "message": "an amount is negative or larger than 1Ei"},
            {"rule": "self.all(r, size(r) <= 253 && r.matches('^([a-z]+|(requests|limits)\\\\.(cpu|memory|storage|ephemeral-storage)|(requests|limits)\\\\.hugepages-[0-9]+(Mi|Gi)|requests\\\\.[a-z0-9.-]+/[A-Za-z0-9._-]+|count/[a-z0-9.-]+|services\\\\.(loadbalancers|nodeports)|[a-z0-9.-]+\\\\.storageclass\\\\.storage\\\\.k8s\\\\.io/(requests\\\\.storage|persistentvolumeclaims))$'))",
             "message": "a resource is none that a quota knows; write it like requests.cpu, limits.memory, requests.storage, count/deployments.apps, requests.nvidia.com/gpu or fast.storageclass.storage.k8s.io/requests.storage"}
        ]
    })
}

/// As [`schema`], with at least one resource.
pub(crate) fn some(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = schema(generator);
    schema.insert("minProperties".to_owned(), 1.into());
    schema
}

/// Reads whole numbers also without quotes, as Kubernetes does.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Quantities, D::Error> {
    let map: BTreeMap<String, Amount> = BTreeMap::deserialize(from)?;
    Ok(map.into_iter().map(|(name, amount)| (name, Quantity(amount.0))).collect())
}

/// An amount of bytes: at least one, at most an exbi.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 32,
        "x-kubernetes-validations": [
            {"rule": "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('1')) >= 0 && quantity(string(self)).compareTo(quantity('1Ei')) <= 0",
             "message": "is no amount of bytes; write it like 500, 4Ki or 20Mi"}
        ]
    })
}

/// As [`read`], for one amount.
pub(crate) fn read_one<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Quantity>, D::Error> {
    Ok(Option::<Amount>::deserialize(from)?.map(|amount| Quantity(amount.0)))
}

#[derive(Serialize)]
struct Amount(String);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(text.to_owned()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_quotes() {
        let spec: crate::RequestClassSpec = serde_json::from_value(
            serde_json::json!({"approvals": 1, "upTo": {"requests.cpu": 8, "requests.memory": "16Gi"}}),
        )
        .unwrap();
        assert_eq!(spec.up_to["requests.cpu"], Quantity("8".into()));
        assert_eq!(spec.up_to["requests.memory"], Quantity("16Gi".into()));
    }
}
