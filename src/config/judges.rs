//! Who judges answers; `config/default.toml` explains it.

use regex::Regex;
use serde::Deserialize;

use super::{Settings, SettingsProblem, WebhookSettings, rules::check_webhook};

/// The longest that a service may take, in seconds: then a job is tried again.
const MAX_JUDGE_TIMEOUT_SECONDS: u64 = 30;

/// Who judges answers: rules, a service, or else a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeSettings {
    /// What is judged.
    pub criterion: Criterion,
    /// What a model is told of it, instead of what it is told of the criterion.
    pub rubric: Option<String>,
    /// The model, instead of `llm.model`.
    pub model: Option<String>,
    /// Patterns that no answer may have.
    #[serde(default)]
    pub forbids: Vec<String>,
    /// Patterns of which every answer has each.
    #[serde(default)]
    pub requires: Vec<String>,
    /// A service that judges.
    pub webhook: Option<WebhookSettings>,
    /// From which score on, from 0 to 1, an answer passes.
    #[serde(default = "half")]
    pub pass_at: f64,
    /// How many of a hundred answers are judged once they are given; 0: it only guards.
    #[serde(default = "all")]
    pub percent: u32,
    /// Whose answers are judged; none: everybody's.
    #[serde(default)]
    pub agents: Vec<String>,
}

fn half() -> f64 {
    0.5
}

fn all() -> u32 {
    100
}

impl JudgeSettings {
    /// Whether it judges by patterns.
    pub fn has_rules(&self) -> bool {
        !self.forbids.is_empty() || !self.requires.is_empty()
    }

    /// Whether a model judges.
    pub fn asks_model(&self) -> bool {
        self.webhook.is_none() && !self.has_rules()
    }
}

/// What answers are judged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// Whether it answers what was asked.
    Relevance,
    /// Whether it may do harm.
    Safety,
    /// Whether it is good.
    Quality,
}

impl Criterion {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relevance => "relevance",
            Self::Safety => "safety",
            Self::Quality => "quality",
        }
    }
}

/// Adds every problem that the judges have.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    for (name, judge) in &settings.judges {
        let at = |rest: &str| format!("judges.{name}{rest}");
        let mut problem = |at: String, mend: &str| problems.push(SettingsProblem::new(at, mend));
        let has_model = judge.rubric.is_some() || judge.model.is_some();
        let kinds = [has_model, judge.has_rules(), judge.webhook.is_some()];
        if kinds.into_iter().filter(|is| *is).count() > 1 {
            let mend = "judges by a model (rubric, model), by rules (forbids, requires) or by a webhook: by one of them";
            problem(at(""), mend);
        }
        if judge.asks_model() && settings.llm.default_model().is_none() {
            let mend = "needs a model: set llm.model, or give it rules or a webhook";
            problem(at(""), mend);
        }
        if !(0.0..=1.0).contains(&judge.pass_at) {
            problem(at(".pass_at"), "must be from 0 to 1");
        }
        if judge.percent > 100 {
            problem(at(".percent"), "must be from 0 to 100");
        }
        for pattern in judge.forbids.iter().chain(&judge.requires) {
            if let Err(error) = Regex::new(pattern) {
                problem(at(""), &format!("{pattern:?} is no pattern: {error}"));
            }
        }
        for agent in &judge.agents {
            if !settings.agents.contains_key(agent) {
                problem(at(".agents"), &format!("{agent} is no agent"));
            }
        }
        if let Some(webhook) = &judge.webhook {
            check_webhook(webhook, &at(".webhook"), problems);
            if webhook.timeout_seconds > MAX_JUDGE_TIMEOUT_SECONDS {
                let mend = format!("must be at most {MAX_JUDGE_TIMEOUT_SECONDS}");
                problems.push(SettingsProblem::new(at(".webhook.timeout_seconds"), mend));
            }
        }
    }
    for (path, agent) in &settings.agents {
        let known = |guard: &String| settings.judges.contains_key(guard);
        if let Some(guard) = agent.guard.as_ref().filter(|guard| !known(guard)) {
            let mend = format!("{guard} is none of the judges");
            problems.push(SettingsProblem::new(format!("agents.{path}.guard"), mend));
        }
        let judge = agent
            .guard
            .as_ref()
            .and_then(|guard| settings.judges.get(guard));
        if judge.is_some_and(|judge| !judge.requires.is_empty()) {
            let mend = "judges whole answers (requires): it cannot pass sentences";
            problems.push(SettingsProblem::new(format!("agents.{path}.guard"), mend));
        }
    }
}
