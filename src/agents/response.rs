//! Where an agent in Rust writes its answer: see [`super::Agent`] for what happens when it calls a tool.

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

/// Where an answer is written.
pub struct Response {
    pub(super) sender: mpsc::Sender<Result<ReplyPart>>,
    text: String,
    /// How much of what is written was said before this agent was asked anew.
    said: usize,
    /// How many of the widgets were shown before.
    shown: usize,
    /// What its calls gave, as far as they are made.
    done: VecDeque<(ToolCall, ToolResult)>,
    may_call: bool,
    has_ended: bool,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The turn was stopped, or the answer has its end.
    #[error("the answer has ended")]
    Ended,
    /// What the tool says went wrong.
    #[error("{0}")]
    Tool(String),
    /// This turn may not call any more tools.
    #[error("this turn may not call any more tools")]
    NoMoreTools,
    /// An agent that is asked anew has to make the same calls, with the same arguments.
    #[error("the agent called {0} where it had called {1}, or the same with other arguments")]
    OtherCall(String, String),
    /// There are no files yet.
    #[error("the text of files is not available")]
    NoFiles,
}

impl Response {
    pub(super) fn new(sender: mpsc::Sender<Result<ReplyPart>>, turn: &TurnInput) -> Self {
        // What the visitor was asked about is no call of this answer's.
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

    /// Begins the answer with what is stored beside it and shown to clients as `additional_data`. Nothing
    /// has to be: the first word begins it too.
    ///
    /// # Errors
    /// When the turn was stopped.
    pub async fn start(&mut self, metadata: Value) -> std::result::Result<(), ResponseError> {
        self.send(ReplyPart::Effects(Effects {
            metadata: Some(metadata),
            ..Effects::default()
        }))
        .await
    }

    /// Says more. It is shown at once.
    ///
    /// # Errors
    /// When the turn was stopped.
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

    /// Ends the answer. It ends too when the agent returns.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// All that was written so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Shows a widget. What the visitor answers to it begins the next turn.
    ///
    /// # Errors
    /// When the turn was stopped.
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

    /// Calls one of the desk's tools, once, however often the turn is taken over.
    ///
    /// # Errors
    /// What the tool says went wrong; or when the turn was stopped, or may call no more.
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

    /// Hands the conversation to another agent, who answers at once. This one says nothing more.
    ///
    /// # Errors
    /// When it cannot be handed there.
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
    /// Always: there are no files yet.
    pub async fn file_text(&self, _file: &str) -> std::result::Result<String, ResponseError> {
        Err(ResponseError::NoFiles)
    }

    /// Ends this part of the answer with a call. The agent is asked anew when it is made.
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

    /// The whole of it, for one who keeps it.
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
