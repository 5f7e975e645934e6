//! A message as a client sends it, checked as far as that goes without the database.

use actix_web::HttpRequest;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    app::App,
    context::Caller,
    error::{Code, Error, Result},
    routes::caller::caller,
    store::{
        Owner,
        begin::{MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, MAX_URL_BYTES},
        sessions::Within,
    },
    text,
    turn::{ASKS_FOR, SKILL, TurnRequest},
};

pub(in crate::routes) const CONTENT_CHARACTERS: usize = 10_000;
const URLS: usize = 8;
const KEY_BYTES: usize = 255;

/// A message as a client sends it.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = ChatRequest, example = json!({"content": "Hello, I want to schedule an appointment"}))]
pub(in crate::routes) struct ChatIn {
    /// What the visitor says. It may be blank only where media or audio is there.
    #[schema(
        required = true,
        nullable = false,
        min_length = 1,
        max_length = 10000,
        pattern = "\\S"
    )]
    content: Option<String>,
    /// http and https URLs of images.
    #[schema(max_items = 8, max_length = 2048, pattern = "^https?://")]
    media_urls: Option<Vec<String>>,
    /// http and https URLs of recordings.
    #[schema(max_items = 8, max_length = 2048, pattern = "^https?://")]
    audio_urls: Option<Vec<String>>,
    #[schema(ignore)]
    file_ids: Option<Vec<String>>,
    /// The agent that the session opens on, or moves to.
    agent: Option<String>,
    /// Stored with the message; at most 16 KiB.
    metadata: Option<Map<String, Value>>,
    /// What the website's page says of the visitor, for the agent that the session opens on.
    context: Option<Map<String, Value>>,
    /// Instead of `content`.
    #[schema(ignore)]
    messages: Option<Vec<DeepChatItem>>,
    /// What the call itself adds to the metadata, under names that are not for clients.
    #[serde(skip)]
    asks: Map<String, Value>,
}

impl ChatIn {
    /// Only text, and what the website adds.
    pub(in crate::routes) fn of(content: String, metadata: Option<Map<String, Value>>) -> Self {
        Self {
            content: Some(content),
            metadata,
            ..Self::default()
        }
    }

    /// A message that asks for a person, who knows something.
    pub(in crate::routes) fn asking(mut self, skill: Option<String>) -> Self {
        self.asks.insert(ASKS_FOR.to_owned(), "person".into());
        self.asks
            .extend(skill.map(|skill| (SKILL.to_owned(), skill.into())));
        self
    }
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(in crate::routes) struct DeepChatItem {
    #[serde(default)]
    #[schema(required = true, example = "user")]
    role: String,
    #[serde(default)]
    #[schema(required = true, example = "Hello, I want to schedule an appointment")]
    text: String,
}

/// What a body may be: it is always read as the first.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = ChatBody, example = json!({"content": "Hello, I want to schedule an appointment"}))]
#[serde(untagged)]
#[expect(dead_code, reason = "only documents")]
pub(in crate::routes) enum ChatBody {
    Plain(Box<ChatIn>),
    DeepChat(DeepChatIn),
}

/// As the deep-chat component has it; frames and JSON then have `text` beside `content`.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = DeepChatRequest)]
#[expect(dead_code, reason = "only documents")]
pub(in crate::routes) struct DeepChatIn {
    /// The last one of the user's is the message.
    #[schema(min_items = 1)]
    messages: Vec<DeepChatItem>,
}

/// Who writes.
pub(in crate::routes) struct Writer<'a> {
    /// Under which their session is kept.
    pub device: Owner,
    /// To which of their conversations.
    pub within: Within,
    /// What their token says of them.
    pub claims: &'a Map<String, Value>,
}

/// Checks everything that can be checked before the database is asked.
pub(in crate::routes) fn turn_request(
    app: &App,
    request: &HttpRequest,
    writer: Writer<'_>,
    body: ChatIn,
) -> Result<TurnRequest> {
    let mirror_text = body.messages.is_some();
    let content = content_of(body.content, body.messages)?;
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
    let (metadata, metadata_bytes) = metadata_of(body.metadata, body.asks)?;
    let urls = media_urls.iter().chain(&audio_urls).map(String::len);
    if content.len() + urls.sum::<usize>() + metadata_bytes > MAX_MESSAGE_BYTES {
        let detail = format!(
            "A message has at most {MAX_MESSAGE_BYTES} bytes: its text, its URLs and its metadata together."
        );
        return Err(Error::new(Code::PayloadTooLarge).detail(detail));
    }
    let mut turn = TurnRequest::new(writer.device, text::cleaned(content));
    turn.within = writer.within;
    turn.media_urls = media_urls;
    turn.audio_urls = audio_urls;
    turn.metadata = metadata;
    turn.agent = body.agent;
    let given = body.context.clone();
    turn.context = context(app, turn.agent.as_deref(), body.context, writer.claims)?;
    turn.mirror_text = mirror_text;
    turn.address = caller(app, request);
    turn.key = key(request)?;
    turn.request_hash = hash(&all_of(&turn, given.as_ref()));
    Ok(turn)
}

/// The text of a message, however the client wrote it.
fn content_of(content: Option<String>, messages: Option<Vec<DeepChatItem>>) -> Result<String> {
    let content = match (content, messages) {
        (Some(content), None) => content,
        (None, Some(items)) => items
            .into_iter()
            .rfind(|item| item.role == "user")
            .map(|item| item.text)
            .unwrap_or_default(),
        (None, None) => return Err(Error::field("content", "A message needs its content.")),
        (Some(_), Some(_)) => {
            let detail = "Either content or messages, not both.";
            return Err(Error::field("messages", detail));
        }
    };
    if content.chars().count() > CONTENT_CHARACTERS {
        let detail = format!("At most {CONTENT_CHARACTERS} characters.");
        return Err(Error::field("content", detail));
    }
    Ok(content)
}

/// A message's metadata, and how many bytes that is. Only the server says who is asked for.
fn metadata_of(
    mut metadata: Option<Map<String, Value>>,
    asks: Map<String, Value>,
) -> Result<(Option<Value>, usize)> {
    if let Some(map) = &mut metadata {
        map.retain(|name, _| name != ASKS_FOR && name != SKILL);
    }
    if !asks.is_empty() {
        metadata.get_or_insert_default().extend(asks);
    }
    let metadata = metadata.map(|map| text::clean_json(Value::Object(map)));
    let bytes = metadata.as_ref().map_or(0, |all| all.to_string().len());
    if bytes > MAX_METADATA_BYTES {
        let detail = format!("At most {MAX_METADATA_BYTES} bytes.");
        return Err(Error::field("metadata", detail));
    }
    Ok((metadata, bytes))
}

/// What a visitor's browser may say of them to an agent, and what their token says to all.
fn context(
    app: &App,
    agent: Option<&str>,
    given: Option<Map<String, Value>>,
    claims: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>> {
    let agents = app.engine.agents();
    let Some(given) = given else {
        return Ok(Some(agents.claimed(claims)).filter(|known| !known.is_empty()));
    };
    let agent = agent.ok_or_else(|| {
        Error::new(Code::InvalidContext).detail("A context needs the agent that it is for.")
    })?;
    let Value::Object(given) = text::clean_json(Value::Object(given)) else {
        return Ok(None);
    };
    let bytes = serde_json::to_string(&given).map_or(0, |json| json.len());
    if bytes > MAX_METADATA_BYTES {
        let detail = format!("At most {MAX_METADATA_BYTES} bytes.");
        return Err(Error::new(Code::InvalidContext).detail(detail));
    }
    agents
        .new_context(agent, given, Caller::Visitor, claims)
        .map(Some)
}

fn urls(param: &'static str, urls: Option<Vec<String>>) -> Result<Vec<String>> {
    let urls = urls.unwrap_or_default();
    if urls.len() > URLS {
        return Err(Error::field(param, format!("At most {URLS}.")));
    }
    let is_web = |url: &String| {
        let parsed = url::Url::parse(url);
        url.len() <= MAX_URL_BYTES
            && !url.contains('\0')
            && parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    match urls.iter().all(is_web) {
        true => Ok(urls),
        false => Err(Error::field(
            param,
            format!("Each must be an http or https URL of at most {MAX_URL_BYTES} bytes."),
        )),
    }
}

/// Everything that makes a message what it is, as its client has said it: what a token adds to the context
/// is not the message's.
fn all_of(turn: &TurnRequest, context: Option<&Map<String, Value>>) -> Value {
    let all = json!([
        turn.mirror_text,
        turn.body,
        turn.media_urls,
        turn.audio_urls,
        turn.agent,
        turn.metadata
    ]);
    match (&turn.within, context) {
        (Within::Session, None) => all,
        (Within::Session, Some(context)) => json!([all, context]),
        (Within::New, context) => json!([all, "new", context]),
        (Within::Named(name), context) => json!([all, "named", name, context]),
        (Within::Conversation(id), context) => json!([all, "conversation", id, context]),
    }
}

/// The client's key for the request.
pub(in crate::routes) fn key(request: &HttpRequest) -> Result<Option<String>> {
    let Some(key) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES {
        let detail = format!("1 to {KEY_BYTES} visible ASCII characters.");
        return Err(Error::field("Idempotency-Key", detail));
    }
    Ok(Some(key.to_owned()))
}

/// What somebody at the desk says to a visitor, checked.
pub(in crate::routes) fn spoken(param: &str, said: String) -> Result<String> {
    let said = text::cleaned(said);
    if said.trim().is_empty() || said.chars().count() > CONTENT_CHARACTERS {
        let detail = format!("1 to {CONTENT_CHARACTERS} characters.");
        return Err(Error::field(param, detail));
    }
    Ok(said)
}

/// A digest of everything that makes a request what it is.
pub(in crate::routes) fn hash(content: &Value) -> Vec<u8> {
    Sha256::digest(content.to_string()).to_vec()
}
