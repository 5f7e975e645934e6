//! Visitors' answers to widgets, checked against a JSON Schema that is derived from the widget's data.

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};

use super::{Widget, WidgetType};
use crate::text::member;

/// Maximum length of a field's text, in characters.
const TEXT_CHARACTERS: u32 = 2_000;

/// A valid answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The answer.
    pub answer: Value,
    /// The answer in words: the visitor's next message.
    pub text: String,
}

/// Why an answer is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFault {
    /// The field that is at fault, if one is.
    pub field: Option<String>,
    /// What is wrong with it.
    pub detail: String,
}

impl Widget {
    /// JSON Schema of the answer; `None` if the widget asks nothing.
    pub fn answer_schema(&self) -> Option<Value> {
        let (properties, required) = match self.kind {
            WidgetType::Card | WidgetType::Link => return None,
            WidgetType::Choices => (
                json!({"choice": {"enum": values(member(&self.data, "options"))}}),
                json!(["choice"]),
            ),
            WidgetType::Confirm => (
                json!({"confirmed": {"type": "boolean"}}),
                json!(["confirmed"]),
            ),
            WidgetType::Rating => (
                json!({
                    "rating": {"type": "integer", "minimum": 1, "maximum": member(&self.data, "most")},
                    "comment": {"type": "string", "maxLength": TEXT_CHARACTERS},
                }),
                json!(["rating"]),
            ),
            WidgetType::Form | WidgetType::AppointmentForm => {
                let properties: Map<String, Value> = self
                    .fields()
                    .map(|field| (name(field).to_owned(), field_schema(field)))
                    .collect();
                let required = self.fields().filter(is_required).map(name);
                (Value::Object(properties), required.collect())
            }
        };
        Some(json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }))
    }

    /// Checks an answer and puts it into words.
    ///
    /// # Errors
    /// If the answer is invalid.
    pub fn answered(&self, answer: Value) -> Result<Answered, AnswerFault> {
        let fault = |field, detail: &str| AnswerFault {
            field,
            detail: detail.to_owned(),
        };
        let schema = self
            .answer_schema()
            .ok_or_else(|| fault(None, "This widget asks nothing."))?;
        // Formats are checked too: a `date` must be a real date.
        let validator = jsonschema::options().should_validate_formats(true);
        let validator = validator
            .build(&schema)
            .map_err(|error| fault(None, &error.to_string()))?;
        let answer = crate::text::clean_json(answer);
        if let Some(error) = validator.iter_errors(&answer).next() {
            let path = error.instance_path().to_string();
            let field = match error.kind() {
                ValidationErrorKind::Required { property } => {
                    property.as_str().unwrap_or_default().to_owned()
                }
                _ => path.trim_start_matches('/').to_owned(),
            };
            let field = (!field.is_empty()).then_some(field);
            return Err(fault(field, &error.to_string()));
        }
        Ok(Answered {
            text: self.in_words(&answer),
            answer,
        })
    }

    fn fields(&self) -> impl Iterator<Item = &Value> {
        member(&self.data, "fields")
            .as_array()
            .into_iter()
            .flatten()
    }

    fn in_words(&self, answer: &Value) -> String {
        match self.kind {
            WidgetType::Choices => label(member(&self.data, "options"), member(answer, "choice")),
            WidgetType::Confirm => {
                let (part, usual) = match *member(answer, "confirmed") == true {
                    true => ("yes", "Yes"),
                    false => ("no", "No"),
                };
                member(&self.data, part)
                    .as_str()
                    .unwrap_or(usual)
                    .to_owned()
            }
            WidgetType::Rating => {
                let points = format!(
                    "{}/{}",
                    member(answer, "rating"),
                    member(&self.data, "most")
                );
                match member(answer, "comment")
                    .as_str()
                    .filter(|said| !said.is_empty())
                {
                    Some(comment) => format!("{points}: {comment}"),
                    None => points,
                }
            }
            _ => {
                let given = self.fields().filter_map(|field| {
                    let value = answer.get(name(field))?;
                    let value = match value {
                        Value::String(_) if *member(field, "type") == "select" => {
                            label(member(field, "options"), value)
                        }
                        Value::String(text) => text.clone(),
                        Value::Bool(given) => (if *given { "yes" } else { "no" }).to_owned(),
                        other => other.to_string(),
                    };
                    Some(format!("{}: {value}", member(field, "label").as_str()?))
                });
                given.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

fn name(field: &Value) -> &str {
    member(field, "name").as_str().unwrap_or_default()
}

fn is_required(field: &&Value) -> bool {
    *member(field, "required") == true
}

/// The values of options.
fn values(options: &Value) -> Value {
    let options = options.as_array().into_iter().flatten();
    options
        .map(|option| member(option, "value").clone())
        .collect()
}

/// The label of the option with this value.
fn label(options: &Value, value: &Value) -> String {
    let mut options = options.as_array().into_iter().flatten();
    let option = options.find(|option| member(option, "value") == value);
    let label = option.and_then(|option| member(option, "label").as_str());
    label.or(value.as_str()).unwrap_or_default().to_owned()
}

fn field_schema(field: &Value) -> Value {
    let pattern = match member(field, "type").as_str().unwrap_or_default() {
        "number" => return json!({"type": "number"}),
        // A required checkbox must be ticked.
        "checkbox" if *member(field, "required") == true => return json!({"const": true}),
        "checkbox" => return json!({"type": "boolean"}),
        "select" => return json!({"enum": values(member(field, "options"))}),
        "date" => return json!({"type": "string", "format": "date"}),
        "time" => "^([01][0-9]|2[0-3]):[0-5][0-9]$",
        "email" => "^[^@\\s]+@[^@\\s]+$",
        "tel" => "^[+0-9][0-9 ()./-]{4,39}$",
        _ if *member(field, "required") == true => "\\S",
        _ => "",
    };
    json!({"type": "string", "maxLength": TEXT_CHARACTERS, "pattern": pattern})
}
