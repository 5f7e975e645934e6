//! The settings of predefined widgets; `default.toml` explains them.

use serde::Deserialize;
use serde_json::Value;

use super::{Settings, SettingsProblem};
use crate::widgets::{RawWidget, WidgetType, Widgets};

/// A predefined widget that agents can show.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidgetSettings {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: WidgetType,
    /// What the widget is good for; the model reads this.
    #[serde(default)]
    pub description: String,
    /// The data that it shows.
    #[serde(default)]
    pub data: Value,
}

impl Settings {
    /// Checks the predefined widgets and makes them ready to be shown.
    ///
    /// # Errors
    /// The name of each faulty widget, and what is wrong with it.
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

/// Adds all problems of the widgets to `problems`.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    for (name, problem) in settings.made_widgets().err().into_iter().flatten() {
        problems.push(SettingsProblem::new(format!("widgets.{name}"), problem));
    }
}
