//! Label selectors, as Kubernetes writes them. The API server does not look into those of custom resources: these rules do.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A selector that can be read: known operators, values where they belong.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63}},
            "matchExpressions": {"type": "array", "maxItems": 16, "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": {"type": "string", "minLength": 1, "maxLength": 317},
                    "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    "values": {"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 63}}
                },
                "x-kubernetes-validations": [
                    {"rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                     "message": "values: In and NotIn need some, Exists and DoesNotExist take none"}
                ]
            }}
        }
    })
}

/// As [`schema`], of a selector that does not match everything.
pub(crate) fn some(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = schema(generator);
    let rule = serde_json::json!([{
        "rule": "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
        "message": "an empty selector matches everything; name a label"
    }]);
    schema.insert("x-kubernetes-validations".to_owned(), rule);
    schema
}
