//! `POST /chat` and `POST /chat/stream`: a message, and its answer in one piece or as it comes.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    extract::{self, Json},
    sse,
};
use crate::{
    app::App,
    clock::Timestamp,
    context::Caller,
    devices::Device,
    error::{Code, Error, Result},
    store::{ConversationId, MessageId, TurnId, begin::Idempotency, messages::FinishReason},
    text,
    turn::{Reply, TurnRequest, fold},
    widgets::Widget,
};

const CONTENT_CHARACTERS: usize = 10_000;
const URLS: usize = 8;
const URL_BYTES: usize = 2_048;
const METADATA_BYTES: usize = 16 * 1024;
const KEY_BYTES: usize = 255;

/// `POST /chat`: the folded stream.
pub(super) async fn json(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
    body: Json<ChatIn>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let request = turn_request(&app, &request, device, body.0)?;
    let mirror_text = request.mirror_text;
    let Reply {
        turn_id,
        conversation_id,
        reader,
    } = app.engine.start(request).await?;
    let answer = fold::fold(reader)
        .await
        .ok_or_else(|| handed_over(turn_id))?;
    let last = answer.last;
    if let Some(failed) = last.error {
        let code = Code::parse(&failed.code).unwrap_or(Code::Internal);
        let error = Error::new(code)
            .logged()
            .with("turn_id", json!(turn_id))
            .with("conversation_id", json!(conversation_id));
        // As much of the answer as was stored.
        let partial = last
            .message_id
            .map(|id| error_with_partial(id, &answer.content));
        return Err(partial
            .into_iter()
            .flatten()
            .fold(error, |error, (name, value)| error.with(name, value)));
    }
    let mut response = HttpResponse::Ok();
    if let Some((turn, conversation)) = turn_id.zip(conversation_id) {
        response.insert_header(("X-Turn-ID", turn.to_string()));
        response.insert_header(("X-Conversation-ID", conversation.to_string()));
    }
    Ok(response.json(ChatOut {
        text: mirror_text.then(|| answer.content.clone()),
        content: answer.content,
        message_id: last.message_id,
        conversation_id,
        turn_id,
        agent: last.agent.map(Into::into),
        timestamp: last.timestamp,
        widgets: answer.widgets.into_iter().map(WidgetOut::from).collect(),
        finish_reason: last.finish_reason,
        degraded: last.degraded,
    }))
}

/// The server shuts down in the middle of an answer: another one goes on, and the same request with
/// the same key finds it.
fn handed_over(turn: Option<TurnId>) -> Error {
    Error::new(Code::Unavailable)
        .detail("This server is shutting down; another one goes on with the turn.")
        .with("turn_id", json!(turn))
}

fn error_with_partial(id: MessageId, content: &str) -> [(&'static str, Value); 2] {
    [("message_id", id.into()), ("content", content.into())]
}

/// `POST /chat/stream`: the answer as it comes.
pub(super) async fn stream(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
    body: Json<ChatIn>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let request = turn_request(&app, &request, device, body.0)?;
    Ok(sse::respond(&app, app.engine.start(request).await?))
}

/// Counts a message for its sender's address.
pub(super) fn count(app: &App, request: &HttpRequest) -> Result<()> {
    extract::caller(app, request).map_or(Ok(()), |address| app.limits.count(address))
}

/// A message as a client sends it.
#[derive(Debug, Deserialize)]
pub(super) struct ChatIn {
    content: Option<String>,
    media_urls: Option<Vec<String>>,
    audio_urls: Option<Vec<String>>,
    file_ids: Option<Vec<String>>,
    agent: Option<String>,
    metadata: Option<Map<String, Value>>,
    /// What the website's page says of the visitor, for the agent that the session opens on.
    context: Option<Map<String, Value>>,
    /// The deep-chat component's: the last item of the user's is the message.
    messages: Option<Vec<DeepChatItem>>,
}

#[derive(Debug, Deserialize)]
struct DeepChatItem {
    #[serde(default)]
    role: String,
    #[serde(default)]
    text: String,
}

/// An answer in one piece. What is not stored has no ids.
#[derive(Debug, Serialize)]
struct ChatOut {
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    timestamp: Timestamp,
    widgets: Vec<WidgetOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
}

/// A widget, and what it is answered by.
#[derive(Debug, Serialize)]
struct WidgetOut {
    #[serde(flatten)]
    widget: Widget,
    message_id: MessageId,
}

impl From<(Widget, MessageId)> for WidgetOut {
    fn from((widget, message_id): (Widget, MessageId)) -> Self {
        Self { widget, message_id }
    }
}

/// Checks everything that can be checked before the database is asked.
fn turn_request(
    app: &App,
    request: &HttpRequest,
    device: Device,
    body: ChatIn,
) -> Result<TurnRequest> {
    let mirror_text = body.messages.is_some();
    let content = match (body.content, body.messages) {
        (Some(content), None) => content,
        (None, Some(items)) => items
            .into_iter()
            .rfind(|item| item.role == "user")
            .map(|item| item.text)
            .unwrap_or_default(),
        (None, None) => return Err(Error::field("content", "A message needs its content.")),
        (Some(_), Some(_)) => {
            return Err(Error::field(
                "messages",
                "Either content or messages, not both.",
            ));
        }
    };
    if content.chars().count() > CONTENT_CHARACTERS {
        return Err(Error::field(
            "content",
            format!("At most {CONTENT_CHARACTERS} characters."),
        ));
    }
    let media_urls = urls("media_urls", body.media_urls)?;
    let audio_urls = urls("audio_urls", body.audio_urls)?;
    if body.file_ids.is_some_and(|ids| !ids.is_empty()) {
        return Err(Error::field("file_ids", "No such file."));
    }
    if content.trim().is_empty() && media_urls.is_empty() && audio_urls.is_empty() {
        return Err(Error::field(
            "content",
            "May be empty only when media or audio is there.",
        ));
    }
    let metadata = body
        .metadata
        .map(|map| text::clean_json(Value::Object(map)));
    if metadata
        .as_ref()
        .is_some_and(|metadata| metadata.to_string().len() > METADATA_BYTES)
    {
        return Err(Error::field(
            "metadata",
            format!("At most {METADATA_BYTES} bytes."),
        ));
    }
    let mut turn = TurnRequest::new(device.id, text::cleaned(content));
    turn.media_urls = media_urls;
    turn.audio_urls = audio_urls;
    turn.metadata = metadata;
    turn.agent = body.agent;
    turn.context = context(app, turn.agent.as_deref(), body.context)?;
    turn.mirror_text = mirror_text;
    turn.address = extract::caller(app, request);
    turn.idempotency = idempotency(request, &all_of(&turn))?;
    Ok(turn)
}

/// What a visitor's browser may say of them to an agent.
fn context(
    app: &App,
    agent: Option<&str>,
    given: Option<Map<String, Value>>,
) -> Result<Option<Map<String, Value>>> {
    let Some(given) = given else {
        return Ok(None);
    };
    let agent = agent.ok_or_else(|| {
        Error::new(Code::InvalidContext).detail("A context needs the agent that it is for.")
    })?;
    let Value::Object(given) = text::clean_json(Value::Object(given)) else {
        return Ok(None);
    };
    let bytes = serde_json::to_string(&given).map_or(0, |json| json.len());
    if bytes > METADATA_BYTES {
        let detail = format!("At most {METADATA_BYTES} bytes.");
        return Err(Error::new(Code::InvalidContext).detail(detail));
    }
    let agents = app.engine.agents();
    agents.new_context(agent, given, Caller::Visitor).map(Some)
}

fn urls(param: &'static str, urls: Option<Vec<String>>) -> Result<Vec<String>> {
    let urls = urls.unwrap_or_default();
    if urls.len() > URLS {
        return Err(Error::field(param, format!("At most {URLS}.")));
    }
    let is_web = |url: &String| {
        let parsed = url::Url::parse(url);
        url.len() <= URL_BYTES
            && !url.contains('\0')
            && parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    match urls.iter().all(is_web) {
        true => Ok(urls),
        false => Err(Error::field(
            param,
            format!("Each must be an http or https URL of at most {URL_BYTES} bytes."),
        )),
    }
}

/// Everything that makes a message what it is.
fn all_of(turn: &TurnRequest) -> Value {
    let all = json!([
        turn.mirror_text,
        turn.body,
        turn.media_urls,
        turn.audio_urls,
        turn.agent,
        turn.metadata
    ]);
    match &turn.context {
        Some(context) => json!([all, context]),
        None => all,
    }
}

/// The client's key, and a digest of everything that makes the request what it is.
pub(super) fn idempotency(request: &HttpRequest, content: &Value) -> Result<Option<Idempotency>> {
    let Some(key) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES {
        let detail = format!("1 to {KEY_BYTES} visible ASCII characters.");
        return Err(Error::field("Idempotency-Key", detail));
    }
    let request_hash = Sha256::digest(content.to_string()).to_vec();
    Ok(Some(Idempotency {
        key: key.to_owned(),
        request_hash,
    }))
}
