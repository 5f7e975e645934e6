//! A message as a client sends it, and the checks that need no database.

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
    /// The text. It may be blank only with `media_urls` or `audio_urls`.
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
    /// The agent to start the session with, or to move it to.
    agent: Option<String>,
    /// Stored with the message; at most 16 KiB.
    metadata: Option<Map<String, Value>>,
    /// What the web page knows about the visitor, for the agent that the session starts with.
    context: Option<Map<String, Value>>,
    /// An alternative to `content`, see [`DeepChatIn`].
    #[schema(ignore)]
    messages: Option<Vec<DeepChatItem>>,
    /// Metadata that the server adds, under names that clients may not use.
    #[serde(skip)]
    asks: Map<String, Value>,
}

impl ChatIn {
    /// A message with only text and metadata.
    pub(in crate::routes) fn of(content: String, metadata: Option<Map<String, Value>>) -> Self {
        Self {
            content: Some(content),
            metadata,
            ..Self::default()
        }
    }

    /// Makes the message ask for an expert, who may need a skill.
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

/// A message in either form.
// Only for the documentation: a body is always parsed as `ChatIn`.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = ChatBody, example = json!({"content": "Hello, I want to schedule an appointment"}))]
#[serde(untagged)]
#[expect(dead_code, reason = "only documents")]
pub(in crate::routes) enum ChatBody {
    Plain(Box<ChatIn>),
    DeepChat(DeepChatIn),
}

/// The form that the deep-chat component sends. The answer then has `text` as well as `content`.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = DeepChatRequest)]
#[expect(dead_code, reason = "only documents")]
pub(in crate::routes) struct DeepChatIn {
    /// The last item with the role `user` is the message.
    #[schema(min_items = 1)]
    messages: Vec<DeepChatItem>,
}

/// The author of a message.
pub(in crate::routes) struct Writer<'a> {
    /// The owner of the session.
    pub device: Owner,
    /// Which of their conversations the message goes to.
    pub within: Within,
    /// The claims of their token.
    pub claims: &'a Map<String, Value>,
}

/// Makes a turn request of a body, after all checks that need no database.
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
        return Err(Error::field("file_ids", "Files are not supported."));
    }
    if content.trim().is_empty() && media_urls.is_empty() && audio_urls.is_empty() {
        return Err(Error::field(
            "content",
            "Must not be blank without media_urls or audio_urls.",
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

/// The text of a message, from either form of the body.
fn content_of(content: Option<String>, messages: Option<Vec<DeepChatItem>>) -> Result<String> {
    let content = match (content, messages) {
        (Some(content), None) => content,
        (None, Some(items)) => items
            .into_iter()
            .rfind(|item| item.role == "user")
            .map(|item| item.text)
            .unwrap_or_default(),
        (None, None) => return Err(Error::field("content", "A message needs content.")),
        (Some(_), Some(_)) => {
            let detail = "Send either content or messages, not both.";
            return Err(Error::field("messages", detail));
        }
    };
    if content.chars().count() > CONTENT_CHARACTERS {
        let detail = format!("Must have at most {CONTENT_CHARACTERS} characters.");
        return Err(Error::field("content", detail));
    }
    Ok(content)
}

/// A message's metadata, and its size in bytes. Drops names that only the server may set.
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
        let detail = format!("Must have at most {MAX_METADATA_BYTES} bytes as JSON.");
        return Err(Error::field("metadata", detail));
    }
    Ok((metadata, bytes))
}

/// The turn's context: what the page tells this agent, and the claims that agents use.
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
        let detail = format!("The context must have at most {MAX_METADATA_BYTES} bytes as JSON.");
        return Err(Error::new(Code::InvalidContext).detail(detail));
    }
    agents
        .new_context(agent, given, Caller::Visitor, claims)
        .map(Some)
}

fn urls(param: &'static str, urls: Option<Vec<String>>) -> Result<Vec<String>> {
    let urls = urls.unwrap_or_default();
    if urls.len() > URLS {
        return Err(Error::field(
            param,
            format!("Must have at most {URLS} URLs."),
        ));
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

/// What the request hash covers: everything that the client sent. What the token adds to the context is left out,
/// because it is not part of the message.
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

/// The `Idempotency-Key` header, checked.
pub(in crate::routes) fn key(request: &HttpRequest) -> Result<Option<String>> {
    let Some(key) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES {
        let detail = format!("Must have 1 to {KEY_BYTES} visible ASCII characters.");
        return Err(Error::field("Idempotency-Key", detail));
    }
    Ok(Some(key.to_owned()))
}

/// The text of an expert for a visitor, checked.
pub(in crate::routes) fn spoken(param: &str, said: String) -> Result<String> {
    let said = text::cleaned(said);
    if said.trim().is_empty() || said.chars().count() > CONTENT_CHARACTERS {
        let detail =
            format!("Must not be blank, and have at most {CONTENT_CHARACTERS} characters.");
        return Err(Error::field(param, detail));
    }
    Ok(said)
}

/// The request hash: two requests with the same hash are the same request.
pub(in crate::routes) fn hash(content: &Value) -> Vec<u8> {
    Sha256::digest(content.to_string()).to_vec()
}
