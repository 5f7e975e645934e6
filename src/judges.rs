//! Judges score answers: by rules, by a service, or by a model with a rubric.
//!
//! This module does not decide what is judged, when, or what follows: [`crate::evaluations`] does
//! that for stored answers, `turn::guard` for sentences that the visitor has not seen yet.

mod model;
mod service;

use std::{collections::BTreeMap, sync::Arc};

use regex::Regex;
use serde::Serialize;

use self::{model::Rubric, service::Service};
use crate::{
    config::{Criterion, JudgeSettings, Settings},
    http::{Clients, HttpError},
    llm::{Models, Usage},
    store::{
        ConversationId, MessageId,
        messages::{Message, Role},
    },
    text,
};

/// Maximum length of a reason, in characters.
const REASON_CHARACTERS: usize = 1_000;

/// All judges of this server.
pub struct Judges {
    judges: BTreeMap<String, Judge>,
    models: Arc<Models>,
}

struct Judge {
    criterion: Criterion,
    by: By,
    pass_at: f64,
    percent: u32,
    agents: Vec<String>,
}

/// How a judge decides.
enum By {
    Rules {
        forbids: Vec<Regex>,
        requires: Vec<Regex>,
    },
    Service(Service),
    Model(Rubric),
}

/// What a judge reads. It judges `answer`; the rest is background.
#[derive(Debug, Clone, Serialize)]
pub struct Submission {
    /// The conversation; `None` if it is not stored.
    pub conversation_id: Option<ConversationId>,
    /// The answer's message, if it is stored already.
    pub message_id: Option<MessageId>,
    /// The agent that answers.
    pub agent: String,
    /// Earlier messages, oldest first.
    pub history: Vec<TranscriptLine>,
    /// The part of the answer that has already passed.
    pub passed: String,
    /// The answer, or the next part of it.
    pub answer: String,
}

/// A message of the conversation.
#[derive(Debug, Clone, Serialize)]
pub struct TranscriptLine {
    /// Who wrote it.
    pub role: Role,
    /// Its text.
    pub content: String,
}

/// A judge's verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The criterion that was applied.
    pub criterion: Criterion,
    /// Whether the score reaches the judge's `pass_at`.
    pub passed: bool,
    /// The score, from 0 (worst) to 1 (best).
    pub score: f64,
    /// Why.
    pub reason: String,
    /// Tokens that the judging model used.
    pub usage: Usage,
}

/// A judge's score and reason, before `pass_at` is applied.
struct Opinion {
    score: f64,
    reason: String,
    usage: Usage,
}

/// Why the judges cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A pattern is not valid.
    #[error("judges: {0}")]
    Pattern(#[from] regex::Error),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Judges {
    /// The configured judges. This makes no calls.
    ///
    /// # Errors
    /// If a pattern is invalid; the configuration check reports it earlier.
    pub fn new(
        settings: &Settings,
        models: &Arc<Models>,
        clients: &Clients,
    ) -> Result<Self, JudgeError> {
        let judges = settings.judges.iter().map(|(name, judge)| {
            let judge = Judge {
                criterion: judge.criterion,
                by: by(judge, models, clients)?,
                pass_at: judge.pass_at,
                percent: judge.percent,
                agents: judge.agents.clone(),
            };
            Ok((name.clone(), judge))
        });
        Ok(Self {
            judges: judges.collect::<Result<_, JudgeError>>()?,
            models: Arc::clone(models),
        })
    }

    /// The names of the judges for an answer of this agent. The answer's id decides whether it is in a judge's
    /// sample (`percent`), so that repeated calls give the same result.
    pub fn of_answer(&self, agent: &str, id: MessageId) -> Vec<String> {
        let draw = u32::try_from(id.0.as_u128() % 100).unwrap_or_default();
        let judging = self.judges.iter().filter(|(_, judge)| {
            let is_theirs = judge.agents.is_empty() || judge.agents.iter().any(|own| own == agent);
            is_theirs && draw < judge.percent
        });
        judging.map(|(name, _)| name.clone()).collect()
    }

    /// Asks a judge; `None` if the judge is no longer configured.
    ///
    /// # Errors
    /// A text for the log, if the judge cannot be asked or its answer is unusable.
    pub async fn judge(
        &self,
        name: &str,
        submission: &Submission,
    ) -> Result<Option<Judgement>, String> {
        let Some(judge) = self.judges.get(name) else {
            return Ok(None);
        };
        let opinion = match &judge.by {
            By::Rules { forbids, requires } => {
                // A forbidden pattern may match across two parts of the answer.
                by_rules(
                    forbids,
                    requires,
                    &format!("{}{}", submission.passed, submission.answer),
                )
            }
            By::Service(service) => service.ask(name, judge.criterion, submission).await?,
            By::Model(rubric) => {
                rubric
                    .ask(&self.models, judge.criterion, submission)
                    .await?
            }
        };
        if !(0.0..=1.0).contains(&opinion.score) {
            return Err(format!("the score {} is not from 0 to 1", opinion.score));
        }
        let reason = text::cleaned(opinion.reason);
        Ok(Some(Judgement {
            criterion: judge.criterion,
            passed: opinion.score >= judge.pass_at,
            score: opinion.score,
            reason: reason.chars().take(REASON_CHARACTERS).collect(),
            usage: opinion.usage,
        }))
    }

    /// The criterion that a judge applies.
    pub fn criterion(&self, name: &str) -> Option<Criterion> {
        self.judges.get(name).map(|judge| judge.criterion)
    }
}

fn by(judge: &JudgeSettings, models: &Models, clients: &Clients) -> Result<By, JudgeError> {
    if let Some(webhook) = &judge.webhook {
        return Ok(By::Service(Service::new(webhook, clients)?));
    }
    if judge.has_rules() {
        return Ok(By::Rules {
            forbids: patterns(&judge.forbids)?,
            requires: patterns(&judge.requires)?,
        });
    }
    Ok(By::Model(Rubric::new(judge, models)))
}

fn patterns(patterns: &[String]) -> Result<Vec<Regex>, regex::Error> {
    patterns.iter().map(|pattern| Regex::new(pattern)).collect()
}

fn by_rules(forbids: &[Regex], requires: &[Regex], answer: &str) -> Opinion {
    let forbidden = forbids.iter().find(|pattern| pattern.is_match(answer));
    let missing = requires.iter().find(|pattern| !pattern.is_match(answer));
    let fault = match (forbidden, missing) {
        (Some(pattern), _) => Some(format!("It has what no answer may have: {pattern}")),
        (None, Some(pattern)) => Some(format!("It has not what every answer has: {pattern}")),
        (None, None) => None,
    };
    Opinion {
        score: if fault.is_some() { 0.0 } else { 1.0 },
        reason: fault.unwrap_or_default(),
        usage: Usage::default(),
    }
}

/// The newest messages for judges to read, at most `left` bytes in all, without tool calls, tool results and
/// retracted messages.
pub fn said(history: &[Message], mut left: usize) -> Vec<TranscriptLine> {
    let heard = |message: &&Message| message.role != Role::Tool && message.retracted.is_none();
    let mut said = Vec::new();
    for message in history.iter().rev().filter(heard) {
        if left == 0 {
            break;
        }
        let end = message.body.floor_char_boundary(left);
        left -= end;
        said.push(TranscriptLine {
            role: message.role,
            content: message.body.get(..end).unwrap_or_default().to_owned(),
        });
        if end < message.body.len() {
            break;
        }
    }
    said.reverse();
    said
}
