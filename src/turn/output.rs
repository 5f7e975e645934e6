//! What a turn says and shows on its way, and how it ends.

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

/// What a turn has come to.
#[derive(Default)]
pub(super) struct Progress {
    pub text: String,
    /// Where the text of what was asked for last begins.
    pub from: usize,
    /// How many records of text there are.
    pub records: usize,
    pub agent: Option<String>,
    /// When its first word came.
    pub first_word: Option<Instant>,
    pub effects: Effects,
    /// The person who is asked for.
    pub asks: Option<HandoffRequest>,
    /// What its models have cost, but for the one that is asked.
    pub spent: Usage,
    /// What that one has cost so far.
    pub asking: Usage,
}

impl Progress {
    /// This agent answers from now on, and is named by what is logged.
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
    /// None where nothing is stored.
    pub lease: Option<Arc<Lease>>,
    /// Whether nothing is stored.
    pub degraded: bool,
    /// The widgets that were shown, and what they are answered by.
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

    /// Whether what is shown is also kept.
    pub(super) fn is_kept(&self) -> bool {
        !self.degraded
    }

    /// Appends a frame, as soon as the turn may send.
    ///
    /// # Errors
    /// When the database has been away for as long as a final frame would wait for it.
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
