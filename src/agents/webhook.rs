//! Agents that are HTTP services, in any language.
//!
//! The service gets the turn as JSON, signed as in [Standard Webhooks](https://www.standardwebhooks.com):
//! `webhook-id`, `webhook-timestamp` and `webhook-signature`, an HMAC-SHA256 of `{id}.{timestamp}.{body}`.
//! The id is the turn's, so that the service can recognise a turn that is repeated after a server died.
//! The service answers with one JSON object, or with an event stream of such objects that ends with
//! `data: [DONE]` or an object with `"is_final": true`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use reqwest::header;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::{AgentReply, Effects, ReplyPart, Respond, TurnInput};
use crate::{
    config::WebhookSettings,
    context::Shape,
    error::{Code, Error, Result},
    http::Clients,
    llm::{CallPart, Chunk, Events, ResponseBody, body},
    signature::SigningKey,
    store::messages::Role,
    tools::handoff,
    widgets::RawWidget,
};

/// An agent that is an HTTP service.
pub(super) struct WebhookAgent {
    path: String,
    clients: Arc<Clients>,
    url: String,
    key: SigningKey,
    timeout: Duration,
    context: Option<Shape>,
}

/// A service's whole answer, or one event of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WebhookEvent {
    content: String,
    widget: Option<RawWidget>,
    widgets: Vec<RawWidget>,
    handoff: Option<Value>,
    /// Changes to the context.
    context: Map<String, Value>,
    is_final: bool,
}

impl WebhookAgent {
    pub(super) fn new(
        path: &str,
        settings: &WebhookSettings,
        context: Option<Shape>,
        clients: Arc<Clients>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            clients,
            url: settings.url.clone(),
            key: SigningKey::new(&settings.secret),
            timeout: Duration::from_secs(settings.timeout_seconds),
            context,
        }
    }

    /// The request's body.
    fn body(&self, turn: &TurnInput) -> String {
        let said = turn
            .history
            .iter()
            .filter(|message| message.role != Role::Tool);
        let said = said.map(|message| {
            let line = message.line();
            json!({
                "role": message.role,
                "content": message.body,
                "timestamp": message.created_at,
                "mode": line.as_ref().map(|line| line.mode),
                "note": line.and_then(|line| line.note),
            })
        });
        let answer = turn.answer();
        let handed = turn.handed_over.as_ref().map(|handed| {
            json!({
                "from": handed.from,
                "reason": handed.handoff.reason,
                "summary": handed.handoff.summary,
            })
        });
        let body = json!({
            "turn_id": turn.turn_id,
            "conversation_id": turn.conversation_id,
            "agent": self.path,
            "message": {
                "content": turn.text(),
                "widget": answer.map(|(kind, _)| kind),
                "answer": answer.map(|(_, answer)| answer),
            },
            "history": said.collect::<Vec<_>>(),
            "context": turn.context,
            "user_name": turn.user_name,
            "handed_over": handed,
        });
        body.to_string()
    }

    async fn ask(&self, turn: &TurnInput) -> Result<AgentReply> {
        let body_text = self.body(turn);
        let id = turn.turn_id.map_or_else(Uuid::now_v7, |turn| turn.0);
        let client = self.clients.here().map_err(failed)?;
        let call = client
            .post(&self.url)
            .header(header::ACCEPT, "text/event-stream, application/json");
        let call = self.key.sign(call, id, body_text);
        let late = |_| Error::new(Code::UpstreamTimeout).caused_by("the webhook did not answer");
        let response = timeout(self.timeout, call.send()).await.map_err(late)?;
        let response = response.map_err(|error| failed(error.without_url()))?;
        if !response.status().is_success() {
            return Err(failed(format!("status {}", response.status().as_u16())));
        }
        let known = turn.context.clone();
        match body(response, self.timeout).await? {
            ResponseBody::Json(text) => {
                let said: WebhookEvent = serde_json::from_str(&text).map_err(failed)?;
                let mut pieces = self.pieces(said, &known)?;
                pieces.push_back(end());
                Ok(stream::iter(pieces.into_iter().map(Ok)).boxed())
            }
            ResponseBody::Events(events) => Ok(self.read(*events, known)),
        }
    }

    /// Converts an event stream to reply parts, up to its end.
    fn read(&self, events: Events, known: Map<String, Value>) -> AgentReply {
        let shape = self.context.clone();
        let begun = (events, known, VecDeque::new(), false);
        let pieces = stream::unfold(begun, move |(mut events, mut known, mut waiting, over)| {
            let shape = shape.clone();
            async move {
                loop {
                    if let Some(piece) = waiting.pop_front() {
                        return Some((Ok(piece), (events, known, waiting, over)));
                    }
                    if over {
                        return None;
                    }
                    let next = match events.next().await {
                        Some(Ok(data)) if data.trim() == "[DONE]" => Ok(VecDeque::from([end()])),
                        Some(Ok(data)) => event(&data, &mut known, shape.as_ref()),
                        Some(Err(error)) => Err(error.into()),
                        None => {
                            Err(Error::new(Code::Interrupted).caused_by("no end of the answer"))
                        }
                    };
                    match next {
                        Ok(pieces) => waiting = pieces,
                        Err(error) => return Some((Err(error), (events, known, waiting, true))),
                    }
                }
            }
        });
        pieces.boxed()
    }

    fn pieces(
        &self,
        said: WebhookEvent,
        known: &Map<String, Value>,
    ) -> Result<VecDeque<ReplyPart>> {
        pieces(said, &mut known.clone(), self.context.as_ref())
    }
}

fn event(
    data: &str,
    known: &mut Map<String, Value>,
    shape: Option<&Shape>,
) -> Result<VecDeque<ReplyPart>> {
    let said: WebhookEvent = serde_json::from_str(data).map_err(failed)?;
    let is_final = said.is_final;
    let mut pieces = pieces(said, known, shape)?;
    if is_final {
        pieces.push_back(end());
    }
    Ok(pieces)
}

/// Converts one event to reply parts.
fn pieces(
    said: WebhookEvent,
    known: &mut Map<String, Value>,
    shape: Option<&Shape>,
) -> Result<VecDeque<ReplyPart>> {
    let mut pieces = VecDeque::new();
    if !said.context.is_empty() {
        if !shape.is_some_and(|shape| shape.fits(&said.context)) {
            return Err(failed("its context does not fit"));
        }
        known.extend(said.context);
        pieces.push_back(ReplyPart::Effects(Effects {
            context: Some(known.clone()),
            ..Effects::default()
        }));
    }
    if !said.content.is_empty() {
        pieces.push_back(ReplyPart::Chunk(Chunk::said(said.content)));
    }
    pieces.extend(
        said.widget
            .into_iter()
            .chain(said.widgets)
            .map(ReplyPart::Widget),
    );
    if let Some(handoff) = said.handoff {
        pieces.push_back(ReplyPart::Chunk(Chunk {
            calls: vec![CallPart::whole(handoff::NAME, &handoff)],
            ..Chunk::default()
        }));
    }
    Ok(pieces)
}

fn end() -> ReplyPart {
    ReplyPart::Chunk(Chunk::end())
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::UpstreamError).caused_by(format!("a webhook: {cause}"))
}

impl Respond for WebhookAgent {
    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<AgentReply>> {
        async move {
            // The service has answered and its handoff failed. It is not asked again.
            if turn.asked_rounds().next().is_some() {
                return Ok(stream::iter([Ok(end())]).boxed());
            }
            self.ask(turn).await
        }
        .boxed()
    }
}
