//! Makes JSON Schemas strict, and takes arguments out of them.

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

/// Removes an argument from a schema, so that the model does not know of it.
pub fn leave_out(argument: &str, schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove(argument);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != argument);
    }
}
