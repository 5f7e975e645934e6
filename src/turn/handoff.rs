//! Hands a conversation to an expert: the request, and the texts that the waiting visitor reads.

use super::{
    Engine,
    frame::Frame,
    output::{Progress, TurnOutput},
};
use crate::{
    agents::Round,
    config::HUMAN,
    error::Error,
    store::{
        messages::FinishReason,
        queue::{HandoffRequest, QueueNotice},
        sessions::Mode,
    },
    text,
};

impl Engine {
    /// A request for an expert who takes over from this agent.
    pub(super) fn handoff_request(&self, reason: String, agent: Option<&str>) -> HandoffRequest {
        let skill = agent.and_then(|agent| self.agents.skill(agent));
        HandoffRequest {
            // Written by a model: may contain NUL, which PostgreSQL refuses.
            reason: text::cleaned(reason),
            skill: skill.map(str::to_owned),
            told: self.queue_notice(),
            notify: self.settings.notify.kinds(),
        }
    }

    /// The texts for a visitor who waits for an expert.
    pub(crate) fn queue_notice(&self) -> QueueNotice {
        let experts = &self.settings.experts;
        QueueNotice {
            asked: experts.waiting.clone(),
            nobody: experts.nobody.clone(),
            name: None,
        }
    }
}

/// The request for an expert, if this round hands the conversation to one.
pub(super) fn asks_for_person(
    engine: &Engine,
    agent: &str,
    round: &Round,
) -> Option<HandoffRequest> {
    let handoff = round.handoff().filter(|handoff| handoff.to == HUMAN)?;
    let reason = match handoff.summary.is_empty() {
        true => handoff.reason,
        false => format!("{} {}", handoff.reason, handoff.summary),
    };
    Some(engine.handoff_request(reason, Some(agent)))
}

pub(super) async fn hand_to_person(
    engine: &Engine,
    asks: HandoffRequest,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<FinishReason, Error> {
    progress.asks = Some(asks);
    output
        .append(engine, |now| Frame::mode(Mode::Expert, now))
        .await?;
    Ok(FinishReason::Handoff)
}
