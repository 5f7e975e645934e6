//! Widgets' data: a JSON Schema for each type, and the text that replaces a widget where it cannot be shown.

use std::{collections::HashMap, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Widget, WidgetType};
use crate::text::member;

/// Each type's schema, compiled when the first widget is checked.
static VALIDATORS: LazyLock<HashMap<WidgetType, Validator>> = LazyLock::new(|| {
    let compiled = |kind| Some((kind, jsonschema::validator_for(&schema(kind)).ok()?));
    WidgetType::ALL.into_iter().filter_map(compiled).collect()
});

/// The schema of a type's data. Properties that it does not name are refused.
pub(super) fn schema(kind: WidgetType) -> Value {
    let text = |most: u32| json!({"type": "string", "minLength": 1, "maxLength": most});
    let url = json!({"type": "string", "maxLength": 2048, "pattern": "^https?://[^\\s]+$"});
    let fields = json!({
        "type": "array", "minItems": 1, "maxItems": 20,
        "items": {
            "type": "object",
            "required": ["name", "label", "type"],
            "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,39}$"},
                "label": text(200),
                "type": {"enum": [
                    "text", "textarea", "email", "tel", "number", "date", "time", "select", "checkbox"
                ]},
                "required": {"type": "boolean"},
                "options": options(),
            },
        },
    });
    let callback = json!({"type": "string", "maxLength": 2048});
    let (properties, required) = match kind {
        WidgetType::AppointmentForm | WidgetType::Form => (
            json!({"title": text(200), "text": text(2_000), "fields": fields, "submit": text(60),
                "callback_url": callback}),
            match kind {
                WidgetType::Form => json!(["fields"]),
                _ => json!([]),
            },
        ),
        WidgetType::Choices => (
            json!({"text": text(2_000), "options": options()}),
            json!(["options"]),
        ),
        WidgetType::Confirm => (
            json!({"text": text(2_000), "yes": text(60), "no": text(60)}),
            json!([]),
        ),
        WidgetType::Card => (
            json!({"title": text(200), "text": text(4_000), "image": url, "url": url, "label": text(60)}),
            json!(["title"]),
        ),
        WidgetType::Link => (
            json!({"text": text(200), "url": url}),
            json!(["text", "url"]),
        ),
        WidgetType::Rating => (
            json!({"text": text(2_000), "most": {"type": "integer", "minimum": 2, "maximum": 10}}),
            json!([]),
        ),
    };
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

fn options() -> Value {
    let text = json!({"type": "string", "minLength": 1, "maxLength": 200});
    json!({
        "type": "array", "minItems": 1, "maxItems": 50,
        "items": {"anyOf": [text, {
            "type": "object",
            "required": ["value", "label"],
            "additionalProperties": false,
            "properties": {"value": text, "label": text},
        }]},
    })
}

/// Checks data and fills in what may be left out: an appointment's fields, a rating's maximum, labels.
///
/// # Errors
/// What is wrong, in words for the data's author.
pub(super) fn checked(kind: WidgetType, mut data: Value) -> Result<Value, String> {
    let validator = VALIDATORS.get(&kind).ok_or("There is no such widget.")?;
    let faults = validator.iter_errors(&data).take(5);
    let faults: Vec<String> = faults
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    if !faults.is_empty() {
        return Err(format!(
            "The widget's data do not fit: {}",
            faults.join("; ")
        ));
    }
    let Some(map) = data.as_object_mut() else {
        return Ok(data);
    };
    if kind == WidgetType::AppointmentForm && !map.contains_key("fields") {
        map.insert("fields".to_owned(), appointment_fields());
    }
    if kind == WidgetType::Rating {
        map.entry("most").or_insert(json!(5));
    }
    if let Some(options) = map.get_mut("options") {
        *options = labelled(options);
    }
    let fields = map.get_mut("fields").and_then(Value::as_array_mut);
    let mut names: Vec<String> = Vec::new();
    for field in fields.into_iter().flatten() {
        let name = member(field, "name")
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if names.contains(&name) {
            return Err(format!("Two fields have the name {name}."));
        }
        names.push(name);
        let has_options = field.get("options").is_some();
        if has_options != (*member(field, "type") == "select") {
            return Err("A select has options, and no other field.".to_owned());
        }
        if let Some(options) = field.get_mut("options") {
            *options = labelled(options);
        }
    }
    Ok(data)
}

/// Options as objects with `value` and `label`.
fn labelled(options: &Value) -> Value {
    let options = options.as_array().into_iter().flatten();
    let one = |option: &Value| match option {
        Value::String(text) => json!({"value": text, "label": text}),
        labelled => labelled.clone(),
    };
    options.map(one).collect()
}

fn appointment_fields() -> Value {
    json!([
        {"name": "name", "label": "Name", "type": "text", "required": true},
        {"name": "contact", "label": "E-mail or phone", "type": "text", "required": true},
        {"name": "date", "label": "Day", "type": "date", "required": true},
        {"name": "time", "label": "Time", "type": "time", "required": true},
        {"name": "note", "label": "What is it about?", "type": "textarea"},
    ])
}

impl Widget {
    /// The text that replaces the widget where it cannot be shown: in a history, in a prompt.
    pub fn text(&self) -> String {
        let part = |name: &str| self.data.get(name).and_then(Value::as_str);
        let list = |name: &str| {
            let items = self.data.get(name).and_then(Value::as_array);
            let items = items.into_iter().flatten();
            items.filter_map(|item| Some(format!("- {}", member(item, "label").as_str()?)))
        };
        let heads = [part("title"), part("text"), part("url")];
        let heads = heads.into_iter().flatten().map(str::to_owned);
        let lines: Vec<String> = heads.chain(list("options")).chain(list("fields")).collect();
        match lines.is_empty() {
            true => self.kind.as_str().replace('_', " "),
            false => lines.join("\n"),
        }
    }
}
