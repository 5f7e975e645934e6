//! Widgets that are made beforehand; `default.toml` explains their settings.

use serde::Deserialize;
use serde_json::Value;

use super::{Settings, SettingsProblem};
use crate::widgets::{RawWidget, WidgetType, Widgets};

/// A widget that agents show, made beforehand.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidgetSettings {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: WidgetType,
    /// What it is good for; the model reads it.
    #[serde(default)]
    pub description: String,
    /// What it shows.
    #[serde(default)]
    pub data: Value,
}

impl Settings {
    /// The configured widgets, ready to be shown.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn made_widgets(&self) -> Result<Widgets, Vec<(String, String)>> {
        let mut widgets = Widgets::new(&self.server.widget_callback_origins);
        let mut problems = Vec::new();
        for (name, settings) in &self.widgets {
            let raw = RawWidget::new(settings.kind.as_str(), settings.data.clone());
            if let Err(problem) = widgets.add(name, &settings.description, raw) {
                problems.push((name.clone(), problem));
            }
        }
        match problems.is_empty() {
            true => Ok(widgets),
            false => Err(problems),
        }
    }
}

/// Adds every problem that the widgets have.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    for (name, problem) in settings.made_widgets().err().into_iter().flatten() {
        problems.push(SettingsProblem::new(format!("widgets.{name}"), problem));
    }
}
