//! JSON Schemas, as strict as they are meant.

use serde_json::Value;

/// The schema, taking only what it names unless it says otherwise: whoever talks a model into more must not
/// reach anybody with it.
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
