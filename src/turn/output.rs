//! A turn's progress, its output, and how it ends.

use std::sync::Arc;

use tokio::time::{Instant, timeout};
use tracing::Span;

use super::{Engine, commit::FINISH_TIMEOUT, frame::Frame, lease::Lease, log::Log};
use crate::{
    agents::{Effects, ShownWidget},
    clock::Timestamp,
    error::{Code, Error},
    llm::Usage,
    store::{MessageId, messages::FinishReason, queue::HandoffRequest},
};

/// What a turn has produced so far.
#[derive(Default)]
pub(super) struct Progress {
    pub text: String,
    /// Where the current reply's text begins in `text`, in bytes.
    pub from: usize,
    /// How many text records there are.
    pub records: usize,
    pub agent: Option<String>,
    /// When the first text arrived from the agent.
    pub first_word: Option<Instant>,
    pub effects: Effects,
    /// The request for an expert, if there is one.
    pub asks: Option<HandoffRequest>,
    /// Tokens used by the model calls before the current one.
    pub spent: Usage,
    /// Tokens used by the current model call so far.
    pub asking: Usage,
}

impl Progress {
    /// Sets the agent that answers from now on; log lines name it.
    pub(super) fn answers(&mut self, agent: String) {
        Span::current().record("agent", &agent);
        self.agent = Some(agent);
    }
}

/// Why a turn is over.
pub(super) struct Ending {
    pub reason: FinishReason,
    pub error: Option<Error>,
}

impl Ending {
    pub(super) fn failed(error: Error) -> Self {
        let reason = match error.code {
            Code::Interrupted => FinishReason::Interrupted,
            _ => FinishReason::Error,
        };
        error.log();
        Self {
            reason,
            error: Some(error),
        }
    }
}

impl From<FinishReason> for Ending {
    fn from(reason: FinishReason) -> Self {
        Self {
            reason,
            error: None,
        }
    }
}

/// Where a turn's text goes.
pub(super) struct TurnOutput<'a> {
    pub log: &'a Log,
    /// None if nothing is stored.
    pub lease: Option<Arc<Lease>>,
    /// True if nothing is stored.
    pub degraded: bool,
    /// The widgets shown so far, each with the message id that an answer refers to.
    pub shown: Vec<(ShownWidget, MessageId)>,
}

impl TurnOutput<'_> {
    /// Shows a widget. It is stored with the answer; until then it cannot be answered.
    pub(super) async fn show(&mut self, engine: &Engine, shown: ShownWidget) -> Result<(), Error> {
        let id = MessageId::new();
        self.append(engine, |now| Frame::widget(shown.widget.clone(), id, now))
            .await?;
        self.shown.push((shown, id));
        Ok(())
    }

    /// True if the turn's output is stored.
    pub(super) fn is_kept(&self) -> bool {
        !self.degraded
    }

    /// Appends a frame; first waits until the lease is valid.
    ///
    /// # Errors
    /// If the lease is not renewed within [`FINISH_TIMEOUT`].
    pub(super) async fn append<'f>(
        &mut self,
        engine: &Engine,
        frame: impl FnOnce(Timestamp) -> Frame<'f>,
    ) -> Result<(), Error> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| !lease.is_valid()) {
            let away = |_| Error::new(Code::AnswerNotStored).caused_by("the lease was not renewed");
            timeout(FINISH_TIMEOUT, lease.valid()).await.map_err(away)?;
        }
        let mut frame = frame(engine.clock.now());
        frame.degraded = self.degraded;
        self.log.append(frame);
        Ok(())
    }
}
