//! Handing a conversation to a person: the request, and what the waiting visitor reads.

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
    /// Asks for a person who can go on from this agent.
    pub(super) fn ask(&self, reason: String, agent: Option<&str>) -> HandoffRequest {
        let skill = agent.and_then(|agent| self.agents.skill(agent));
        HandoffRequest {
            // A model's word.
            reason: text::cleaned(reason),
            skill: skill.map(str::to_owned),
            told: self.told(),
            notify: self.settings.notify.kinds(),
        }
    }

    /// What a visitor reads who waits for a person.
    pub(crate) fn told(&self) -> QueueNotice {
        let experts = &self.settings.experts;
        QueueNotice {
            asked: experts.waiting.clone(),
            nobody: experts.nobody.clone(),
            name: None,
        }
    }
}

/// What an agent says to whoever it hands the conversation to, where that is a person.
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
    Some(engine.ask(reason, Some(agent)))
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
