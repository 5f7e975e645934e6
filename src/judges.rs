//! Judges: whether an answer may stand, by rules, by a service, or by a model with a rubric.
//!
//! Who is asked to judge, when, and what comes of it is not known here: answers that were given
//! are [`crate::evaluations`]', sentences that are held back `turn::guard`'s.

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

/// The longest reason, in characters.
const REASON_CHARACTERS: usize = 1_000;

/// The judges of a desk.
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

/// What judges.
enum By {
    Rules {
        forbids: Vec<Regex>,
        requires: Vec<Regex>,
    },
    Service(Service),
    Model(Rubric),
}

/// What a judge reads, of which it judges the answer.
#[derive(Debug, Clone, Serialize)]
pub struct Submission {
    /// Where it is said.
    pub conversation_id: Option<ConversationId>,
    /// The answer's message, where it is given.
    pub message_id: Option<MessageId>,
    /// The agent that answers.
    pub agent: String,
    /// What was said before, oldest first.
    pub history: Vec<TranscriptLine>,
    /// What of the answer has passed before.
    pub passed: String,
    /// The answer, or the next piece of it.
    pub answer: String,
}

/// What somebody said.
#[derive(Debug, Clone, Serialize)]
pub struct TranscriptLine {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

/// What came of judging.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What was judged.
    pub criterion: Criterion,
    /// Whether the answer may stand.
    pub passed: bool,
    /// How well it does, from 0 to 1.
    pub score: f64,
    /// Why.
    pub reason: String,
    /// What the model has cost that judged.
    pub usage: Usage,
}

/// What a judge says.
struct Opinion {
    score: f64,
    reason: String,
    usage: Usage,
}

/// Why there are no judges.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A pattern is not valid.
    #[error("judges: {0}")]
    Pattern(#[from] regex::Error),
    /// There is no client for calls.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Judges {
    /// The configured judges. They have called nobody yet.
    ///
    /// # Errors
    /// When a pattern is not valid; the configuration's check finds it first.
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

    /// The judges of an answer that this agent gives. The answer's id draws the sample, so that it is the
    /// same however often it is asked for.
    pub fn of_answer(&self, agent: &str, id: MessageId) -> Vec<String> {
        let draw = u32::try_from(id.0.as_u128() % 100).unwrap_or_default();
        let judging = self.judges.iter().filter(|(_, judge)| {
            let is_theirs = judge.agents.is_empty() || judge.agents.iter().any(|own| own == agent);
            is_theirs && draw < judge.percent
        });
        judging.map(|(name, _)| name.clone()).collect()
    }

    /// What a judge says; none where there is no such judge any more.
    ///
    /// # Errors
    /// In words for the log, where the judge cannot be asked or does not say anything of sense.
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
                // What is forbidden may stand across two pieces.
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

    /// What a judge judges.
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

/// What was said, for judges to read: the newest messages, with so many bytes in all, without what tools did
/// and what was withdrawn.
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
