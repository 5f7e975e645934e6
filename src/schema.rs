//! Makes JSON Schemas strict.

use serde_json::Value;

/// The schema, refusing properties that it does not name unless it says otherwise: a visitor who talks a model
/// into extra arguments must not reach a tool with them.
pub fn closed(mut schema: Value) -> Value {
    const OPEN: [&str; 7] = [
        "additionalProperties",
        "unevaluatedProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    if let Some(schema) = schema.as_object_mut()
        && !OPEN.iter().any(|word| schema.contains_key(*word))
    {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    schema
}
