//! Answers to widgets: validated, then handled like any other message.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Engine, Reply, TurnRequest, metadata::CONFIRMS};
use crate::{
    error::{Code, Error, Result},
    store::{MessageId, Owner, TurnId, begin::WidgetAnswer, messages::Message, sessions::Within},
    widgets::{Answered, Widget, WidgetType},
};

/// Pause between look-ups of a widget that a turn on another instance has shown but not stored yet.
const WIDGET_RETRY_DELAY: Duration = Duration::from_millis(300);

impl Engine {
    /// Answers a widget, which starts a turn. `request` says who answers. A widget takes one answer; a second
    /// is refused.
    ///
    /// # Errors
    /// `not_found` for a widget that is not in the owner's conversation, `invalid_answer`, `already_answered`,
    /// and those of [`Engine::start`].
    pub async fn answer(
        self: &Arc<Self>,
        mut request: TurnRequest,
        widget: MessageId,
        answer: Value,
    ) -> Result<Reply> {
        if let Some(known) = self.known(&request).await? {
            return self.begun(request, Instant::now(), Ok(known)).await;
        }
        let shown = self.shown(&request.device, widget).await?;
        if request.device.is_user() {
            request.within = Within::Conversation(shown.conversation_id);
        }
        let (kind, data) = (shown.component_type, shown.component_data);
        let kind = kind.as_deref().and_then(WidgetType::parse);
        let (kind, data) = kind.zip(data).ok_or_else(|| Error::new(Code::NotFound))?;
        let answered = Widget { kind, data: data.0 }.answered(answer);
        let Answered { answer, text } = answered.map_err(|fault| {
            let mut error = Error::new(Code::InvalidAnswer).detail(fault.detail);
            error.param = fault.field;
            error
        })?;
        request.body = text;
        // Copy the call that waits for consent, so that the instance that runs the turn need not load the
        // widget.
        request.metadata = shown.metadata.map(|metadata| metadata.0);
        request.metadata = request
            .metadata
            .filter(|asked| asked.get(CONFIRMS).is_some());
        request.answers = Some(WidgetAnswer {
            widget,
            kind: kind.as_str().to_owned(),
            answer,
        });
        self.start(request).await
    }

    /// Waits for the turn's end if it runs here, else for [`WIDGET_RETRY_DELAY`].
    async fn ends(&self, turn: TurnId, until: Instant) {
        let here = self
            .running()
            .get(&turn)
            .map(|running| Arc::clone(&running.log));
        match here {
            Some(log) => {
                let mut reader = log.reader(usize::MAX);
                let end = reader.end();
                drop(timeout_at(until, end).await);
            }
            None => sleep(WIDGET_RETRY_DELAY).await,
        }
    }

    /// An unanswered widget. While a turn runs, this waits for it: a turn's widgets are stored when it ends.
    async fn shown(&self, device: &Owner, widget: MessageId) -> Result<Message> {
        let patience = Duration::from_secs(self.settings.turn.wait_seconds);
        let until = Instant::now() + patience;
        loop {
            let running = self.store.newest_turn(device).await?;
            let running = running.filter(|turn| turn.finish_reason.is_none());
            let running = running.map(|turn| turn.id);
            match self.store.widget(device, widget).await? {
                Some((_, true)) => return Err(Error::new(Code::AlreadyAnswered)),
                Some((shown, false)) => return Ok(shown),
                None if Instant::now() < until => match running {
                    Some(turn) => self.ends(turn, until).await,
                    None => return Err(Error::new(Code::NotFound)),
                },
                None => return Err(Error::new(Code::NotFound)),
            }
        }
    }
}
