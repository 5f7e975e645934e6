//! OpenAI's chat completions API, which many servers speak: Azure, vLLM, llama.cpp, Ollama,
//! OpenRouter, LiteLLM. They all differ, so requests have only the fields that are needed.

use std::{fmt, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
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
    text::{self, member},
};

const OPENAI_URL: &str = "https://api.openai.com/v1";

/// Newer models refuse `max_tokens`; then `max_completion_tokens` is sent instead.
pub(super) const OPENAI_FORMAT: Format = Format {
    optional: &[
        "max_completion_tokens",
        "max_tokens",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
    ],
    body,
    event,
    whole,
    usage_follows: true,
};

/// A server that speaks chat completions.
#[derive(Debug)]
pub(super) struct OpenAi(Endpoint);

impl OpenAi {
    pub(super) fn new(
        vendor: &VendorSettings,
        clients: Arc<Clients>,
        timeouts: TimeoutSettings,
    ) -> Self {
        let url = url(if vendor.base_url.is_empty() {
            OPENAI_URL
        } else {
            &vendor.base_url
        });
        let key = Some(vendor.api_key.reveal()).filter(|key| !key.is_empty());
        let bearer = key.and_then(|key| secret_header(&format!("Bearer {key}")));
        // Azure's older endpoints want the key in the header `api-key`.
        let azure = key
            .filter(|_| url.contains(".azure.com/"))
            .and_then(secret_header);
        let bearer = bearer.map(|key| (AUTHORIZATION, key));
        let azure = azure.map(|key| (HeaderName::from_static("api-key"), key));
        let headers: HeaderMap = bearer.into_iter().chain(azure).collect();
        Self(Endpoint::new(clients, url, headers, timeouts.idle))
    }
}

/// The call's URL: its path goes before the query, which Azure's URLs have.
fn url(base: &str) -> String {
    let (path, query) = base.split_once('?').unwrap_or((base, ""));
    let path = path
        .trim_end_matches('/')
        .trim_end_matches("/chat/completions");
    let gap = if query.is_empty() { "" } else { "?" };
    format!("{path}/chat/completions{gap}{query}")
}

impl Provider for OpenAi {
    fn ask<'a>(
        &'a self,
        model: &'a Model,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Chunks, LlmError>> {
        self.0.ask(model, request, OPENAI_FORMAT).boxed()
    }
}

fn body(model: &Model, request: &Request, allowed: &dyn Fn(&'static str) -> bool) -> Value {
    let system = json!({"role": "system", "content": request.system});
    let messages = request.messages.iter().flat_map(messages);
    let mut body = Map::from_iter([
        ("model".to_owned(), json!(model.name)),
        ("stream".to_owned(), json!(true)),
        (
            "messages".to_owned(),
            std::iter::once(system).chain(messages).collect(),
        ),
    ]);
    if allowed("stream_options") {
        let options = json!({"include_usage": true});
        body.insert("stream_options".to_owned(), options);
    }
    if let Some(temperature) = model
        .settings
        .temperature
        .filter(|_| allowed("temperature"))
    {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    let limit = ["max_tokens", "max_completion_tokens"]
        .into_iter()
        .find(|field| allowed(field));
    if let Some((most, field)) = request.max_tokens.or(model.settings.max_tokens).zip(limit) {
        body.insert(field.to_owned(), json!(most));
    }
    if !request.tools.is_empty() && allowed("tools") {
        let tools = request.tools.iter().map(|tool| {
            let function = json!({
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            });
            json!({"type": "function", "function": function})
        });
        body.insert("tools".to_owned(), tools.collect());
        let choice = match &request.must_call {
            Some(name) => Some(json!({"type": "function", "function": {"name": name}})),
            None if request.may_call => None,
            None => Some(json!("none")),
        };
        if let Some(choice) = choice.filter(|_| allowed("tool_choice")) {
            body.insert("tool_choice".to_owned(), choice);
        }
    }
    Value::Object(body)
}

/// Converts a message; each tool result becomes a message of its own.
fn messages(message: &PromptMessage) -> Vec<Value> {
    let results = message.results.iter().map(
        |result| json!({"role": "tool", "tool_call_id": result.call_id, "content": result.content}),
    );
    let is_said = message.results.is_empty() || !message.text.is_empty();
    results.chain(is_said.then(|| said(message))).collect()
}

fn said(message: &PromptMessage) -> Value {
    if !message.calls.is_empty() {
        let calls = message.calls.iter().map(|call| {
            // Servers refuse a conversation with arguments that are not JSON.
            let function = json!({"name": call.name, "arguments": call.input().to_string()});
            json!({"id": call.id, "type": "function", "function": function})
        });
        let text = Some(&message.text).filter(|text| !text.is_empty());
        return json!({
            "role": "assistant",
            "content": text,
            "tool_calls": calls.collect::<Vec<_>>(),
        });
    }
    if !message.from_visitor {
        return json!({"role": "assistant", "content": message.text});
    }
    if message.images.is_empty() {
        return json!({"role": "user", "content": message.text});
    }
    let text = Some(&message.text).filter(|text| !text.is_empty());
    let text = text.map(|text| json!({"type": "text", "text": text}));
    let images = message
        .images
        .iter()
        .map(|url| json!({"type": "image_url", "image_url": {"url": url}}));
    json!({"role": "user", "content": text.into_iter().chain(images).collect::<Vec<_>>()})
}

/// Parses an event. The answer ends with its finish reason or, without one, with `[DONE]`.
pub(super) fn event(data: &str) -> Result<Option<Chunk>, LlmError> {
    if data.trim() == "[DONE]" {
        return Ok(Some(Chunk {
            finish: Some(FinishReason::Stop),
            ..Chunk::default()
        }));
    }
    let event: CompletionChunk = text::parse_json_text(data).map_err(unreadable)?;
    if let Some(error) = event.error.filter(is_error) {
        return Err(LlmError::new(Failure::Reported, reported(&error)));
    }
    let usage = event.usage.as_ref().map(|usage| Usage {
        input: member(usage, "prompt_tokens").as_u64().unwrap_or_default(),
        output: member(usage, "completion_tokens")
            .as_u64()
            .unwrap_or_default(),
    });
    let Some(choice) = event.choices.into_iter().flatten().next() else {
        // Only the token usage: this is the last event.
        let chunk = usage.map(|usage| Chunk {
            usage: Some(usage),
            ..Chunk::default()
        });
        return Ok(chunk);
    };
    let said = choice.delta.or(choice.message).unwrap_or_default();
    let finish = match choice.finish_reason.as_deref() {
        None | Some("") => None,
        Some("length" | "max_tokens") => Some(FinishReason::Length),
        Some(reason @ ("error" | "content_filter")) => {
            return Err(LlmError::new(Failure::Reported, reason));
        }
        Some(_) => Some(FinishReason::Stop),
    };
    Ok(Some(Chunk {
        text: said.content.map(|content| content.0).unwrap_or_default(),
        calls: said
            .calls
            .into_iter()
            .flatten()
            .map(CallDelta::part)
            .collect(),
        finish,
        usage,
    }))
}

/// Parses an answer that is not streamed: it looks like an event, with `message` instead of `delta`.
fn whole(json: &str) -> Result<Chunk, LlmError> {
    let mut chunk = event(json)?.unwrap_or_default();
    chunk.finish = chunk.finish.or(Some(FinishReason::Stop));
    Ok(chunk)
}

#[derive(Deserialize)]
struct CompletionChunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<CompletionDelta>,
    message: Option<CompletionDelta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct CompletionDelta {
    content: Option<Content>,
    #[serde(rename = "tool_calls")]
    calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    /// JSON text; some servers send the JSON itself.
    arguments: Option<Value>,
}

impl CallDelta {
    fn part(self) -> CallPart {
        let function = self.function.unwrap_or_default();
        let arguments = match function.arguments {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => String::new(),
            Some(json) => json.to_string(),
        };
        CallPart {
            index: self.index,
            id: self.id,
            name: function.name,
            arguments,
        }
    }
}

/// Text, or an array of parts, of which only text parts count.
#[derive(Default)]
struct Content(String);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Content::default())
    }
}

impl<'de> Visitor<'de> for Content {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self, E> {
        Ok(Self(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self, E> {
        Ok(Self(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self, A::Error> {
        let mut all = self.0;
        while let Some(part) = parts.next_element::<Self>()? {
            all.push_str(&part.0);
        }
        Ok(Self(all))
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<Self, A::Error> {
        let (mut text, mut is_text) = (String::new(), true);
        while let Some(key) = part.next_key::<String>()? {
            match key.as_str() {
                "text" => text = part.next_value::<Option<String>>()?.unwrap_or_default(),
                "type" => {
                    is_text = matches!(
                        part.next_value::<String>()?.as_str(),
                        "text" | "output_text"
                    )
                }
                _ => drop(part.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Self(if is_text { text } else { String::new() }))
    }
}
