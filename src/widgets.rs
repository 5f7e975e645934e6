//! Widgets: forms, choices and cards that agents show, and what visitors answer to them.
//!
//! A widget is data of a declared type, never markup: each type has a JSON Schema for its data
//! ([`data`]) and, where it asks something, one for its answer ([`answer`]). Whoever makes one, a
//! model, a service or the configuration, it is checked here before a visitor sees it.

mod answer;
mod data;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use answer::{AnswerFault, Answered};

/// What the tools that show widgets begin with.
const SHOW: &str = "show_";
/// The longest data, in bytes of JSON.
const DATA_BYTES: usize = 16 * 1024;

/// What kind of widget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WidgetType {
    /// A form that asks for an appointment.
    AppointmentForm,
    /// One of several options.
    Choices,
    /// A yes or a no.
    Confirm,
    /// Something to look at.
    Card,
    /// An address to go to.
    Link,
    /// A number of points.
    Rating,
    /// A form with any fields.
    Form,
}

impl WidgetType {
    /// All of them.
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

    /// The type of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What a model is told of it.
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
    /// What it shows.
    pub data: Value,
}

impl Widget {
    /// A question whether a tool may be called.
    pub fn confirm(text: String) -> Self {
        Self {
            kind: WidgetType::Confirm,
            data: json!({"text": text}),
        }
    }
}

/// A widget as somebody made it: its type and data are to be checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RawWidget {
    /// A type, or the name of a configured widget.
    #[serde(rename = "type")]
    pub name: String,
    /// What it shows; a configured one has its own.
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

/// The widgets of a desk.
#[derive(Debug, Default)]
pub struct Widgets {
    configured: BTreeMap<String, (Widget, String)>,
    callback_origins: Vec<String>,
}

impl Widgets {
    /// No configured widgets yet.
    pub fn new(callback_origins: &[String]) -> Self {
        Self {
            configured: BTreeMap::new(),
            callback_origins: callback_origins.to_vec(),
        }
    }

    /// Adds a configured one, with what a model is told of it.
    ///
    /// # Errors
    /// In words for the one who made it.
    pub fn add(&mut self, name: &str, description: &str, raw: RawWidget) -> Result<(), String> {
        let configured = (self.check(raw)?, description.to_owned());
        self.configured.insert(name.to_owned(), configured);
        Ok(())
    }

    /// A widget, if its data fit.
    ///
    /// # Errors
    /// In words for the one who made it.
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

    /// Whether a form may be sent there: to a route of the chat, or to an origin that was allowed.
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

    /// What a model is told of a widget: what it is good for, and what its data look like.
    pub fn described(&self, name: &str) -> Option<(String, Value)> {
        if let Some((_, description)) = self.configured.get(name) {
            let nothing =
                json!({"type": "object", "properties": {}, "additionalProperties": false});
            return Some((description.clone(), nothing));
        }
        let kind = WidgetType::parse(name)?;
        Some((kind.description().to_owned(), data::schema(kind)))
    }

    /// A widget whose data a model made, as JSON text.
    ///
    /// # Errors
    /// In words for the model, when the data do not fit.
    pub fn read(&self, name: &str, data: &str) -> Result<Widget, String> {
        let data = serde_json::from_str(data)
            .map_err(|error| format!("The arguments are not JSON: {error}."))?;
        self.check(RawWidget::new(name, data))
    }
}

/// What a model calls to show a widget.
pub fn tool_name(widget: &str) -> String {
    format!("{SHOW}{widget}")
}
