//! The settings of judges; `config/default.toml` explains them.

use regex::Regex;
use serde::Deserialize;

use super::{Settings, SettingsProblem, WebhookSettings, rules::check_webhook};

/// Maximum timeout of a judging service, in seconds. It must be below the timeout of a job's attempt.
const MAX_JUDGE_TIMEOUT_SECONDS: u64 = 30;

/// A judge of answers: rules, a service, or else a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeSettings {
    /// The criterion that it judges by.
    pub criterion: Criterion,
    /// Text for the model, instead of the criterion's standard text.
    pub rubric: Option<String>,
    /// The model, instead of `llm.model`.
    pub model: Option<String>,
    /// Patterns that must not match an answer.
    #[serde(default)]
    pub forbids: Vec<String>,
    /// Patterns that must all match an answer.
    #[serde(default)]
    pub requires: Vec<String>,
    /// A service that judges.
    pub webhook: Option<WebhookSettings>,
    /// The lowest score that passes, from 0 to 1.
    #[serde(default = "half")]
    pub pass_at: f64,
    /// Percentage of given answers that are judged; 0: the judge is only used as a guard.
    #[serde(default = "all")]
    pub percent: u32,
    /// The agents whose answers are judged; empty: all agents.
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
    /// Whether the judge has patterns.
    pub fn has_rules(&self) -> bool {
        !self.forbids.is_empty() || !self.requires.is_empty()
    }

    /// Whether the judge asks a model.
    pub fn asks_model(&self) -> bool {
        self.webhook.is_none() && !self.has_rules()
    }
}

/// What a judge checks an answer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// Whether the answer answers the question.
    Relevance,
    /// Whether the answer could do harm.
    Safety,
    /// Whether the answer is good.
    Quality,
}

impl Criterion {
    /// The criterion's name, as in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relevance => "relevance",
            Self::Safety => "safety",
            Self::Quality => "quality",
        }
    }
}

/// Adds all problems of the judges to `problems`.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    for (name, judge) in &settings.judges {
        let at = |rest: &str| format!("judges.{name}{rest}");
        let mut problem = |at: String, mend: &str| problems.push(SettingsProblem::new(at, mend));
        let has_model = judge.rubric.is_some() || judge.model.is_some();
        let kinds = [has_model, judge.has_rules(), judge.webhook.is_some()];
        if kinds.into_iter().filter(|is| *is).count() > 1 {
            let mend = "must use only one of: a model (rubric, model), patterns (forbids, requires), a webhook";
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
                problem(
                    at(""),
                    &format!("{pattern:?} is not a valid pattern: {error}"),
                );
            }
        }
        for agent in &judge.agents {
            if !settings.agents.contains_key(agent) {
                problem(at(".agents"), &format!("there is no agent {agent}"));
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
            let mend = format!("there is no judge {guard}");
            problems.push(SettingsProblem::new(format!("agents.{path}.guard"), mend));
        }
        let judge = agent
            .guard
            .as_ref()
            .and_then(|guard| settings.judges.get(guard));
        if judge.is_some_and(|judge| !judge.requires.is_empty()) {
            let mend = "has `requires`, which needs a whole answer: it cannot check sentences";
            problems.push(SettingsProblem::new(format!("agents.{path}.guard"), mend));
        }
    }
}
