//! The writer for a Rust agent's answer. [`super::native`] explains what happens when the agent calls a tool.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Effects, ReplyPart, TurnInput};
use crate::{
    error::Result,
    llm::{CallPart, Chunk, ToolCall, ToolResult},
    tools::handoff,
    widgets::RawWidget,
};

/// Writes a Rust agent's answer.
pub struct Response {
    pub(super) sender: mpsc::Sender<Result<ReplyPart>>,
    text: String,
    /// Bytes of text that earlier runs sent; this run does not send them again.
    said: usize,
    /// Number of widgets that earlier runs showed and that this run has still to skip.
    shown: usize,
    /// Recorded calls and their results that this run has not reached yet.
    done: VecDeque<(ToolCall, ToolResult)>,
    may_call: bool,
    has_ended: bool,
}

/// Why a write or a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The turn was stopped, or the agent has ended the answer.
    #[error("the answer has ended")]
    Ended,
    /// The tool failed; this is its message.
    #[error("{0}")]
    Tool(String),
    /// This turn may not call any more tools.
    #[error("this turn may not call any more tools")]
    NoMoreTools,
    /// The agent was run again and made another call: each run must make the same calls with the same arguments.
    #[error("the agent called {0} where it had called {1}, or the same with other arguments")]
    OtherCall(String, String),
    /// Files are not supported yet.
    #[error("the text of files is not available")]
    NoFiles,
}

impl Response {
    pub(super) fn new(sender: mpsc::Sender<Result<ReplyPart>>, turn: &TurnInput) -> Self {
        // Calls that the visitor confirmed are not part of this answer.
        let rounds = || turn.asked_rounds();
        let done = rounds().flat_map(|round| round.calls.iter().zip(&round.results));
        Self {
            sender,
            text: String::new(),
            said: rounds().map(|round| round.said.text.len()).sum(),
            shown: rounds().map(|round| round.said.widgets.len()).sum(),
            done: done
                .map(|(call, result)| (call.clone(), result.clone()))
                .collect(),
            may_call: turn.may_call,
            has_ended: false,
        }
    }

    /// Begins the answer with metadata, which is stored with it and shown to clients as `additional_data`.
    /// Optional: the first text begins the answer too.
    ///
    /// # Errors
    /// If the turn was stopped or the answer has ended.
    pub async fn start(&mut self, metadata: Value) -> std::result::Result<(), ResponseError> {
        self.send(ReplyPart::Effects(Effects {
            metadata: Some(metadata),
            ..Effects::default()
        }))
        .await
    }

    /// Adds text. The visitor sees it at once.
    ///
    /// # Errors
    /// If the turn was stopped or the answer has ended.
    pub async fn write(&mut self, text: &str) -> std::result::Result<(), ResponseError> {
        let before = self.text.len();
        let text = crate::text::clean(text);
        self.text.push_str(&text);
        let new = text.get(self.said.saturating_sub(before)..);
        match new.filter(|new| !new.is_empty()) {
            None => Ok(()),
            Some(new) => {
                self.send(ReplyPart::Chunk(Chunk::said(new.to_owned())))
                    .await
            }
        }
    }

    /// Ends the answer. Returning from the agent ends it too.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// All text written so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Shows a widget. The visitor's answer to it begins the next turn.
    ///
    /// # Errors
    /// If the turn was stopped or the answer has ended.
    pub async fn display_widget(
        &mut self,
        widget: RawWidget,
    ) -> std::result::Result<(), ResponseError> {
        if self.shown > 0 {
            self.shown -= 1;
            return Ok(());
        }
        self.send(ReplyPart::Widget(widget)).await
    }

    /// Calls a tool. A recorded call is not made again when another instance adopts the turn.
    ///
    /// # Errors
    /// If the tool failed, the turn was stopped or may call no more tools, or an earlier run made another call here.
    pub async fn call(
        &mut self,
        tool: &str,
        arguments: impl Serialize,
    ) -> std::result::Result<String, ResponseError> {
        let arguments = serde_json::to_value(arguments)
            .map_err(|error| ResponseError::Tool(error.to_string()))?;
        if let Some((call, result)) = self.done.pop_front() {
            let before = serde_json::from_str(&call.arguments).ok();
            if call.name != tool || before.as_ref() != Some(&arguments) {
                return Err(ResponseError::OtherCall(tool.to_owned(), call.name));
            }
            return match result.is_error {
                true => Err(ResponseError::Tool(result.content)),
                false => Ok(result.content),
            };
        }
        self.ask_for(CallPart::whole(tool, &arguments)).await
    }

    /// Hands the conversation to another agent, which answers at once. This agent says nothing more.
    ///
    /// # Errors
    /// If the conversation cannot be handed to that agent.
    pub async fn hand_over(
        &mut self,
        agent: &str,
        reason: &str,
        summary: &str,
    ) -> std::result::Result<(), ResponseError> {
        let handoff = json!({"agent": agent, "reason": reason, "summary": summary});
        self.call(handoff::NAME, handoff).await.map(drop)
    }

    /// The text of an uploaded file.
    ///
    /// # Errors
    /// Always: files are not supported yet.
    pub async fn file_text(&self, _file: &str) -> std::result::Result<String, ResponseError> {
        Err(ResponseError::NoFiles)
    }

    /// Ends this run with a call and then waits forever: the turn makes the call and runs the agent again.
    async fn ask_for<T>(&mut self, call: CallPart) -> std::result::Result<T, ResponseError> {
        if !self.may_call {
            return Err(ResponseError::NoMoreTools);
        }
        let chunk = Chunk {
            calls: vec![call],
            ..Chunk::end()
        };
        self.send(ReplyPart::Chunk(chunk)).await?;
        std::future::pending().await
    }

    /// Moves the contents into a new `Response`, for an agent that takes it by value.
    pub(super) fn take(&mut self) -> Self {
        Self {
            sender: self.sender.clone(),
            text: std::mem::take(&mut self.text),
            said: self.said,
            shown: self.shown,
            done: std::mem::take(&mut self.done),
            may_call: self.may_call,
            has_ended: self.has_ended,
        }
    }

    async fn send(&mut self, piece: ReplyPart) -> std::result::Result<(), ResponseError> {
        if self.has_ended {
            return Err(ResponseError::Ended);
        }
        let sent = self.sender.send(Ok(piece)).await;
        sent.map_err(|_| ResponseError::Ended)
    }
}
