//! Settings of models: which one, on which server, with which timeouts.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{Secret, SettingsProblem, rules::check_headers};

/// Models, their vendors and their timeouts.
#[derive(Debug, Clone, Deserialize)]
pub struct LlmSettings {
    /// `openai:NAME`, `anthropic:NAME`, `offline`, or empty.
    pub model: String,
    /// Retries of a failed call. Only before the first word.
    pub retries: u32,
    connect_timeout_seconds: u64,
    first_token_timeout_seconds: u64,
    idle_timeout_seconds: u64,
    payload_idle_timeout_seconds: u64,
    total_timeout_seconds: u64,
    /// A server with OpenAI's chat completions API.
    pub openai: VendorSettings,
    /// A server with Anthropic's messages API.
    pub anthropic: VendorSettings,
    /// Settings of single models, by name.
    pub models: BTreeMap<String, ModelSettings>,
}

/// The timeouts of a call to a model. They run independently.
#[derive(Debug, Clone, Copy)]
pub struct TimeoutSettings {
    /// Until the connection is open.
    pub connect: Duration,
    /// Until the first piece of the answer.
    pub first_token: Duration,
    /// Between bytes.
    pub idle: Duration,
    /// Between pieces of the answer.
    pub payload_idle: Duration,
    /// For the whole call, retries and fallbacks included.
    pub total: Duration,
}

impl LlmSettings {
    /// The model that agents use by default: the configured one, else that of the first vendor with a key or an
    /// address. `None`: offline.
    pub fn default_model(&self) -> Option<String> {
        match self.model.as_str() {
            "offline" => None,
            "" if self.openai.is_set() => Some(format!("openai:{}", self.openai.model)),
            "" if self.anthropic.is_set() => Some(format!("anthropic:{}", self.anthropic.model)),
            "" => None,
            spec => Some(spec.to_owned()),
        }
    }

    /// The vendor of a model, by the same rule as [`crate::llm::Models::model`].
    pub fn vendor_of(&self, spec: &str) -> &VendorSettings {
        match spec.split_once(':') {
            Some(("openai", _)) => &self.openai,
            Some(("anthropic", _)) => &self.anthropic,
            _ if self.anthropic.is_set() && !self.openai.is_set() => &self.anthropic,
            _ => &self.openai,
        }
    }

    /// The timeouts.
    pub fn timeouts(&self) -> TimeoutSettings {
        TimeoutSettings {
            connect: Duration::from_secs(self.connect_timeout_seconds),
            first_token: Duration::from_secs(self.first_token_timeout_seconds),
            idle: Duration::from_secs(self.idle_timeout_seconds),
            payload_idle: Duration::from_secs(self.payload_idle_timeout_seconds),
            total: Duration::from_secs(self.total_timeout_seconds),
        }
    }
}

/// One vendor's key and address.
#[derive(Debug, Clone, Deserialize)]
pub struct VendorSettings {
    /// The API key; empty: none is sent.
    pub api_key: Secret,
    /// The server's base address, to which a call's path is appended; empty: the vendor's own.
    pub base_url: String,
    /// The model to use if `llm.model` is empty.
    pub model: String,
}

impl VendorSettings {
    /// Whether a key or an address is set.
    pub fn is_set(&self) -> bool {
        !self.api_key.is_empty() || !self.base_url.is_empty()
    }
}

/// Settings of one model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// Models to try, in this order, if this one fails before its first word.
    pub fallbacks: Vec<String>,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// Maximum length of an answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Additional headers of each call.
    pub headers: BTreeMap<String, Secret>,
}

/// Adds all problems of the models to `problems`.
pub(super) fn check(llm: &LlmSettings, problems: &mut Vec<SettingsProblem>) {
    if let Some(spec) = llm
        .default_model()
        .filter(|spec| !llm.vendor_of(spec).is_set())
    {
        let mend = format!(
            "is {spec}, but its vendor has no key and no address: set OPENAI_API_KEY, OPENAI_BASE_URL or ANTHROPIC_API_KEY"
        );
        problems.push(SettingsProblem::new("FRONTDESK_MODEL", mend));
    }
    for (at, vendor) in [
        ("OPENAI_API_KEY", &llm.openai),
        ("ANTHROPIC_API_KEY", &llm.anthropic),
    ] {
        if !vendor
            .api_key
            .reveal()
            .chars()
            .all(|c| c.is_ascii_graphic())
        {
            problems.push(SettingsProblem::new(
                at,
                "must be visible ASCII characters without blanks",
            ));
        }
    }
    for (name, model) in &llm.models {
        check_model(name, model, problems);
    }
}

fn check_model(name: &str, model: &ModelSettings, problems: &mut Vec<SettingsProblem>) {
    let at = |key: &str| format!("llm.models.{name}.{key}");
    let mut problem = |key: &str, mend| problems.push(SettingsProblem::new(at(key), mend));
    let is_out_of_range = |temperature: f64| !(0.0..=2.0).contains(&temperature);
    if model.temperature.is_some_and(is_out_of_range) {
        problem("temperature", "must be from 0 to 2");
    }
    if model.max_tokens == Some(0) {
        problem("max_tokens", "must be at least 1");
    }
    if model.fallbacks.iter().any(|spec| spec == "offline") {
        problem("fallbacks", "must not contain offline");
    }
    check_headers(&at("headers"), &model.headers, problems);
}
