//! Widgets: forms, choices and cards that agents show, and visitors' answers to them.
//!
//! A widget is typed data, never markup: each type has a JSON Schema for its data ([`data`]) and,
//! if it asks something, one for its answer ([`answer`]). Every widget is checked here before a
//! visitor sees it, whether a model, a service or the configuration made it.

mod answer;
mod data;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use answer::{AnswerFault, Answered};

/// Prefix of the tools that show widgets.
const SHOW: &str = "show_";
/// Maximum size of a widget's data, in bytes of JSON.
const DATA_BYTES: usize = 16 * 1024;

/// A widget's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WidgetType {
    /// A form that asks for an appointment.
    AppointmentForm,
    /// Options, of which the visitor chooses one.
    Choices,
    /// A question to answer with yes or no.
    Confirm,
    /// A card to look at: title, text, picture, link.
    Card,
    /// A link to open.
    Link,
    /// A rating in points.
    Rating,
    /// A form with any fields.
    Form,
}

impl WidgetType {
    /// All types.
    pub const ALL: [Self; 7] = [
        Self::AppointmentForm,
        Self::Choices,
        Self::Confirm,
        Self::Card,
        Self::Link,
        Self::Rating,
        Self::Form,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppointmentForm => "appointment_form",
            Self::Choices => "choices",
            Self::Confirm => "confirm",
            Self::Card => "card",
            Self::Link => "link",
            Self::Rating => "rating",
            Self::Form => "form",
        }
    }

    /// The type with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The description for the model.
    fn description(self) -> &'static str {
        match self {
            Self::AppointmentForm => {
                "Shows the visitor a form that asks for an appointment: name, contact, day and time."
            }
            Self::Choices => "Shows the visitor some options, of which they choose one.",
            Self::Confirm => "Asks the visitor a question that is answered by yes or no.",
            Self::Card => "Shows the visitor a card: a title, a text, a picture, an address.",
            Self::Link => "Shows the visitor an address to go to.",
            Self::Rating => "Asks the visitor for a rating.",
            Self::Form => "Shows the visitor a form.",
        }
    }
}

/// A widget whose data fit its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Widget {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: WidgetType,
    /// What it shows; the members depend on the type.
    pub data: Value,
}

impl Widget {
    /// A widget that asks whether a tool may be called.
    pub fn confirm(text: String) -> Self {
        Self {
            kind: WidgetType::Confirm,
            data: json!({"text": text}),
        }
    }
}

/// A widget that has not been checked yet.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RawWidget {
    /// A type, or the name of a configured widget.
    #[serde(rename = "type")]
    pub name: String,
    /// What it shows; ignored for a configured widget, which has its own data.
    #[serde(default)]
    pub data: Value,
}

impl RawWidget {
    /// A widget of a type, or a configured one.
    pub fn new(name: &str, data: Value) -> Self {
        Self {
            name: name.to_owned(),
            data,
        }
    }
}

/// The configured widgets, and the origins that forms may be sent to.
#[derive(Debug, Default)]
pub struct Widgets {
    configured: BTreeMap<String, (Widget, String)>,
    callback_origins: Vec<String>,
}

impl Widgets {
    /// Begins without configured widgets.
    pub fn new(callback_origins: &[String]) -> Self {
        Self {
            configured: BTreeMap::new(),
            callback_origins: callback_origins.to_vec(),
        }
    }

    /// Adds a configured widget, with its description for the model.
    ///
    /// # Errors
    /// What is wrong, in words for its author.
    pub fn add(&mut self, name: &str, description: &str, raw: RawWidget) -> Result<(), String> {
        let configured = (self.check(raw)?, description.to_owned());
        self.configured.insert(name.to_owned(), configured);
        Ok(())
    }

    /// Checks a widget's type, data and callback URL.
    ///
    /// # Errors
    /// What is wrong, in words for its author.
    pub fn check(&self, raw: RawWidget) -> Result<Widget, String> {
        if let Some((widget, _)) = self.configured.get(&raw.name) {
            return Ok(widget.clone());
        }
        let kind = WidgetType::parse(&raw.name)
            .ok_or_else(|| format!("There is no widget {:?}.", raw.name))?;
        let data = match raw.data {
            Value::Null => json!({}),
            data => crate::text::clean_json(data),
        };
        if data.to_string().len() > DATA_BYTES {
            return Err(format!("A widget has at most {DATA_BYTES} bytes of data."));
        }
        let data = data::checked(kind, data)?;
        if let Some(url) = data.get("callback_url").and_then(Value::as_str)
            && !self.may_call_back(url)
        {
            return Err(format!("{url} may not be called back."));
        }
        Ok(Widget { kind, data })
    }

    /// True if a form may be sent there: to a chat route of this server, or to an allowed origin.
    fn may_call_back(&self, callback: &str) -> bool {
        let is_own = ["/chat/", "/api/v1/chat/", "/v1/chat/"]
            .iter()
            .any(|own| callback.starts_with(own));
        let is_plain = !callback.contains("..") && !callback.contains(['\\', '%']);
        if is_own && is_plain {
            return true;
        }
        url::Url::parse(callback).is_ok_and(|url| {
            let origin = url.origin().ascii_serialization();
            self.callback_origins.contains(&origin)
        })
    }

    /// A widget's description and the schema of its data, for the model.
    pub fn described(&self, name: &str) -> Option<(String, Value)> {
        if let Some((_, description)) = self.configured.get(name) {
            let nothing =
                json!({"type": "object", "properties": {}, "additionalProperties": false});
            return Some((description.clone(), nothing));
        }
        let kind = WidgetType::parse(name)?;
        Some((kind.description().to_owned(), data::schema(kind)))
    }

    /// Parses and checks a widget whose data a model wrote as JSON text.
    ///
    /// # Errors
    /// What is wrong, in words for the model.
    pub fn read(&self, name: &str, data: &str) -> Result<Widget, String> {
        let data = serde_json::from_str(data)
            .map_err(|error| format!("The arguments are not JSON: {error}."))?;
        self.check(RawWidget::new(name, data))
    }
}

/// The name of the tool that shows a widget.
pub fn tool_name(widget: &str) -> String {
    format!("{SHOW}{widget}")
}
