//! Answers to widgets: checked, and then a message like any other.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Engine, Reply, TurnRequest, metadata::CONFIRMS};
use crate::{
    error::{Code, Error, Result},
    store::{MessageId, Owner, TurnId, begin::WidgetAnswer, messages::Message, sessions::Within},
    widgets::{Answered, Widget, WidgetType},
};

/// How often a widget is looked for that a running turn has shown and not stored yet.
const WIDGET_RETRY_DELAY: Duration = Duration::from_millis(300);

impl Engine {
    /// Answers a widget, which begins a turn; the request says who does. Once: the second answer is refused.
    ///
    /// # Errors
    /// `not_found` for a widget that is not in this device's conversation, `invalid_answer`,
    /// `already_answered`, and as [`Engine::start`].
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
        // The call that waits for it goes with it: whoever runs the turn need not look for the widget.
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

    /// Waits for a turn's end, or a moment if it runs elsewhere.
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

    /// A widget that waits for its answer. One that a running turn has shown is stored when that ends.
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
