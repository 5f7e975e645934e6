//! Anthropic's Messages API.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    CallPart, Chunk, Chunks, Failure, LlmError, Model, PromptMessage, Provider, Request, Usage,
    call::{Endpoint, secret_header},
    events::Format,
    refusal::{is_error, reported, unreadable},
};
use crate::{
    config::{TimeoutSettings, VendorSettings},
    http::Clients,
    store::messages::FinishReason,
    text,
};

const ANTHROPIC_URL: &str = "https://api.anthropic.com";
const VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("anthropic-version"),
    HeaderValue::from_static("2023-06-01"),
);

/// Limit of the answer, in tokens, if none is configured: this API requires one.
const MAX_TOKENS: u32 = 4096;

pub(super) const ANTHROPIC_FORMAT: Format = Format {
    optional: &["temperature"],
    body,
    event,
    whole,
    usage_follows: false,
};

/// A server that speaks Anthropic's Messages API.
#[derive(Debug)]
pub(super) struct Anthropic(Endpoint);

impl Anthropic {
    pub(super) fn new(
        vendor: &VendorSettings,
        clients: Arc<Clients>,
        timeouts: TimeoutSettings,
    ) -> Self {
        let base = if vendor.base_url.is_empty() {
            ANTHROPIC_URL
        } else {
            &vendor.base_url
        };
        let base = base.trim_end_matches('/').trim_end_matches("/v1");
        let key = Some(vendor.api_key.reveal()).filter(|key| !key.is_empty());
        let key = key
            .and_then(secret_header)
            .map(|key| (HeaderName::from_static("x-api-key"), key));
        let headers: HeaderMap = [VERSION].into_iter().chain(key).collect();
        Self(Endpoint::new(
            clients,
            format!("{base}/v1/messages"),
            headers,
            timeouts.idle,
        ))
    }
}

impl Provider for Anthropic {
    fn ask<'a>(
        &'a self,
        model: &'a Model,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Chunks, LlmError>> {
        self.0.ask(model, request, ANTHROPIC_FORMAT).boxed()
    }
}

fn body(model: &Model, request: &Request, allowed: &dyn Fn(&'static str) -> bool) -> Value {
    let most = request
        .max_tokens
        .or(model.settings.max_tokens)
        .unwrap_or(MAX_TOKENS);
    let mut body = Map::from_iter([
        ("model".to_owned(), json!(model.name)),
        ("stream".to_owned(), json!(true)),
        ("max_tokens".to_owned(), json!(most)),
        ("system".to_owned(), json!(request.system)),
        (
            "messages".to_owned(),
            request.messages.iter().map(message).collect(),
        ),
    ]);
    if let Some(temperature) = model
        .settings
        .temperature
        .filter(|_| allowed("temperature"))
    {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
            })
        });
        body.insert("tools".to_owned(), tools.collect());
        let choice = match &request.must_call {
            Some(name) => Some(json!({"type": "tool", "name": name})),
            None if request.may_call => None,
            None => Some(json!({"type": "none"})),
        };
        if let Some(choice) = choice {
            body.insert("tool_choice".to_owned(), choice);
        }
    }
    Value::Object(body)
}

fn message(message: &PromptMessage) -> Value {
    let role = if message.from_visitor {
        "user"
    } else {
        "assistant"
    };
    let text = Some(&message.text).filter(|text| !text.trim().is_empty());
    let text = text.map(|text| json!({"type": "text", "text": text}));
    let images = message
        .images
        .iter()
        .map(|url| json!({"type": "image", "source": {"type": "url", "url": url}}));
    let calls = message.calls.iter().map(
        |call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input()}),
    );
    let results = message.results.iter().map(|result| {
        json!({
            "type": "tool_result",
            "tool_use_id": result.call_id,
            "content": result.content,
            "is_error": result.is_error,
        })
    });
    // Tool results come first: this API refuses them elsewhere.
    let content: Vec<Value> = results.chain(images).chain(text).chain(calls).collect();
    json!({"role": role, "content": content})
}

pub(super) fn event(data: &str) -> Result<Option<Chunk>, LlmError> {
    let event: AnthropicEvent = read(data)?;
    if let Some(error) = event.error.filter(is_error) {
        return Err(LlmError::new(Failure::Reported, reported(&error)));
    }
    let index = event.index;
    let part = event.delta.or(event.content_block).unwrap_or_default();
    match event.kind.as_deref() {
        Some("ping") => Ok(None),
        Some("message_stop") => Ok(Some(Chunk {
            finish: Some(FinishReason::Stop),
            ..Chunk::default()
        })),
        _ => Ok(Some(Chunk {
            finish: part.stop_reason.as_deref().map(finish_reason),
            calls: part.call(index).into_iter().collect(),
            text: part.text.unwrap_or_default(),
            // `message_start` reports input tokens, `message_delta` output tokens.
            usage: event
                .message
                .unwrap_or_default()
                .usage
                .or(event.usage)
                .map(Into::into),
        })),
    }
}

fn whole(json: &str) -> Result<Chunk, LlmError> {
    #[derive(Deserialize)]
    struct ResponseMessage {
        #[serde(default)]
        content: Vec<Part>,
        stop_reason: Option<String>,
        usage: Option<TokenCounts>,
        error: Option<Value>,
    }
    let message: ResponseMessage = read(json)?;
    if let Some(error) = message.error.filter(is_error) {
        return Err(LlmError::new(Failure::Reported, reported(&error)));
    }
    let calls = message.content.iter().filter_map(|part| part.call(None));
    let calls = calls.collect();
    let text = message
        .content
        .into_iter()
        .filter_map(|part| part.text)
        .collect();
    let finish = message
        .stop_reason
        .as_deref()
        .map_or(FinishReason::Stop, finish_reason);
    Ok(Chunk {
        text,
        calls,
        finish: Some(finish),
        usage: message.usage.map(Into::into),
    })
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, LlmError> {
    text::parse_json_text(json).map_err(unreadable)
}

fn finish_reason(stop_reason: &str) -> FinishReason {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        _ => FinishReason::Stop,
    }
}

#[derive(Deserialize)]
struct AnthropicEvent {
    #[serde(rename = "type")]
    kind: Option<String>,
    index: Option<u64>,
    delta: Option<Part>,
    content_block: Option<Part>,
    message: Option<MessageStart>,
    usage: Option<TokenCounts>,
    error: Option<Value>,
}

/// The `message` of a `message_start` event.
#[derive(Default, Deserialize)]
struct MessageStart {
    usage: Option<TokenCounts>,
}

/// Input tokens, some of them from a cache, and output tokens.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenCounts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl From<TokenCounts> for Usage {
    fn from(tokens: TokenCounts) -> Self {
        let input = [
            tokens.input_tokens,
            tokens.cache_creation_input_tokens,
            tokens.cache_read_input_tokens,
        ];
        Self {
            input: input.into_iter().flatten().sum(),
            output: tokens.output_tokens.unwrap_or_default(),
        }
    }
}

/// A part of text or of a tool call. Reasoning has its text in another field, so it is skipped.
#[derive(Default, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    stop_reason: Option<String>,
    id: Option<String>,
    name: Option<String>,
    /// A call's arguments: empty at the start of a streamed call, complete in an answer that is not streamed.
    input: Option<Value>,
    partial_json: Option<String>,
}

impl Part {
    fn call(&self, index: Option<u64>) -> Option<CallPart> {
        match self.kind.as_deref() {
            Some("tool_use") => {
                // A streamed call begins with an empty input; its arguments follow.
                let is_empty = |input: &Value| input.as_object().is_some_and(Map::is_empty);
                let input = self.input.as_ref().filter(|input| !is_empty(input));
                Some(CallPart {
                    index,
                    id: self.id.clone(),
                    name: self.name.clone(),
                    arguments: input.map(Value::to_string).unwrap_or_default(),
                })
            }
            Some("input_json_delta") => Some(CallPart {
                index,
                arguments: self.partial_json.clone().unwrap_or_default(),
                ..CallPart::default()
            }),
            _ => None,
        }
    }
}
