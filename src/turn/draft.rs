//! Drafts: the agent suggests an answer to the expert, who may send it.
//!
//! A draft is not a turn: nothing is stored, no tool is called, only the expert reads it.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::{Engine, prompt};
use crate::{
    agents::{ReplyPart, TurnInput},
    error::{Code, Error, Result},
    store::{ConversationId, conversations::AgentView, messages::Role},
    text,
};

/// Time limit for the agent's draft.
const DRAFT_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum length of a draft: that of an expert's message.
const DRAFT_CHARACTERS: usize = 10_000;

impl Engine {
    /// The answer that the conversation's agent suggests to the visitor's last message. Empty if the visitor
    /// has been answered, or if the agent could have side effects (custom code or an external service).
    ///
    /// # Errors
    /// Those of the model's server; `upstream_timeout` if the agent takes longer than `DRAFT_TIMEOUT`.
    pub async fn draft(&self, id: ConversationId, known: AgentView) -> Result<String> {
        let mut history = known.history;
        history.retain(|said| said.retracted.is_none());
        let last = history.iter().rfind(|said| said.role != Role::System);
        if last.is_none_or(|last| last.role != Role::User) {
            return Ok(String::new());
        }
        let context = known.context.as_ref().and_then(Value::as_object).cloned();
        while history.last().is_some_and(|last| last.role == Role::System) {
            history.pop();
        }
        let input = TurnInput {
            conversation_id: Some(id),
            history: prompt::window(history, self.settings.turn.history_tokens),
            state: known.state,
            context: context.unwrap_or_default(),
            ..TurnInput::default()
        };
        let said = timeout(DRAFT_TIMEOUT, self.propose(known.agent_path, &input)).await;
        said.unwrap_or_else(|_| Err(Error::new(Code::UpstreamTimeout)))
    }

    async fn propose(&self, agent: Option<String>, input: &TurnInput) -> Result<String> {
        let (agent, _) = self.agents.choose(agent.as_deref(), false, input).await;
        if !self.agents.can_draft(&agent) {
            return Ok(String::new());
        }
        let mut reply = self.agents.respond(&agent, input).await?;
        let mut draft = String::new();
        while let Some(piece) = reply.next().await {
            let ReplyPart::Chunk(chunk) = piece? else {
                continue;
            };
            draft.push_str(&chunk.text);
            if chunk.finish.is_some() || draft.len() > 4 * DRAFT_CHARACTERS {
                break;
            }
        }
        Ok(text::cleaned(
            draft.chars().take(DRAFT_CHARACTERS).collect(),
        ))
    }
}
