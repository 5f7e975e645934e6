//! Reads error responses: which field the server refused, and what may be logged. Their texts must not be
//! logged: some servers repeat the visitor's words or a key in them.

use reqwest::StatusCode;
use serde_json::Value;

use super::{Failure, LlmError};

/// Phrases in error responses about a field that the server does not accept.
const REFUSING: [&str; 10] = [
    "unsupported",
    "not supported",
    "not support",
    "unrecognized",
    "unknown",
    "unexpected",
    "extra_forbidden",
    "not permitted",
    "not allowed",
    "only the default",
];

/// The field among `sent` that an error response is about: the one it names as its parameter, or
/// else the first one that its message mentions.
pub(super) fn field(
    status: StatusCode,
    text: &str,
    sent: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    if !matches!(status.as_u16(), 400 | 422) {
        return None;
    }
    let json: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let error = json.get("error").unwrap_or(&json);
    let details = error
        .get("detail")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let named = error.get("param").into_iter().chain(
        details
            .clone()
            .filter_map(|detail| detail.get("loc")?.as_array()?.last()),
    );
    let named: Vec<&str> = named.filter_map(Value::as_str).collect();
    let said = ["message", "detail", "code"]
        .into_iter()
        .filter_map(|name| error.get(name)?.as_str());
    let said = said
        .chain(error.as_str())
        .chain(details.filter_map(|detail| detail.get("type")?.as_str()));
    let said = said.collect::<Vec<_>>().join("\n").to_lowercase();
    if !REFUSING.iter().any(|phrase| said.contains(phrase)) {
        return None;
    }
    let sent: Vec<&'static str> = sent.collect();
    let is_named = sent.iter().find(|field| named.contains(field));
    let quoted = || {
        sent.iter()
            .filter_map(|field| Some((mention(&said, field)?, field)))
            .min()
            .map(|(_, field)| field)
    };
    is_named.or_else(quoted).copied()
}

/// Where a text mentions a field as a whole word.
fn mention(text: &str, field: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(field).map(|(at, _)| at).find(|at| {
        let (before, rest) = text.split_at(*at);
        !before.ends_with(is_word)
            && !rest
                .get(field.len()..)
                .unwrap_or_default()
                .starts_with(is_word)
    })
}

/// True if a request with images may have been refused because of them.
pub(super) fn may_be_images(status: StatusCode, text: &str) -> bool {
    let text = text.to_lowercase();
    let says_so = ["image", "multimodal", "multi-modal", "vision"]
        .iter()
        .any(|word| text.contains(word));
    match status.as_u16() {
        401 | 403 | 429 => false,
        400 | 422 => true,
        _ => says_so,
    }
}

/// What may be logged of an error response: its code or type.
pub(super) fn reason(refusal: &str) -> String {
    serde_json::from_str(refusal)
        .map_or_else(|_| "no reason given".to_owned(), |json| reported(&json))
}

/// The code or type in an error object, with or without `error` around it.
pub(super) fn reported(error: &Value) -> String {
    let error = error.get("error").unwrap_or(error);
    let mut names = ["code", "type"]
        .into_iter()
        .filter_map(|name| error.get(name)?.as_str());
    let plain = |name: &&str| {
        name.len() <= 64
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    names.find(plain).unwrap_or("no reason given").to_owned()
}

/// True if an `error` member reports an error; some servers always send the member, empty.
pub(super) fn is_error(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// The error for an answer that is not the expected JSON. Only the error's kind and column are logged, no text.
pub(super) fn unreadable(error: serde_json::Error) -> LlmError {
    let detail = format!("{:?} error at column {}", error.classify(), error.column());
    LlmError::new(Failure::Unreadable, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_at_fault_only_where_it_is_refused() {
        let fault = |text| {
            field(
                StatusCode::BAD_REQUEST,
                text,
                ["max_completion_tokens", "max_tokens", "temperature"].into_iter(),
            )
        };
        let newer = r#"{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens", "code": "unsupported_parameter"}}"#;
        assert_eq!(fault(newer), Some("max_tokens"));
        assert_eq!(
            fault("unknown field `temperature`, expected one of model"),
            Some("temperature")
        );
        let echo = r#"{"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "Extra inputs are not permitted", "input": {"max_tokens": 9}}]}"#;
        assert_eq!(fault(echo), Some("temperature"));
        assert_eq!(
            fault(
                r#"{"error": {"message": "maximum context length exceeded: reduce max_tokens"}}"#
            ),
            None
        );
        assert_eq!(fault(r#"{"error": {"message": "unknown model x"}}"#), None);
        assert_eq!(
            field(
                StatusCode::INTERNAL_SERVER_ERROR,
                newer,
                ["max_tokens"].into_iter()
            ),
            None
        );
    }

    #[test]
    fn the_log_learns_codes_and_no_words() {
        assert_eq!(
            reason(r#"{"error": {"message": "my secret", "code": "model_not_found"}}"#),
            "model_not_found"
        );
        assert_eq!(
            reason(r#"{"error": {"code": "my secret words", "type": "invalid_request_error"}}"#),
            "invalid_request_error"
        );
        assert_eq!(reason("my secret"), "no reason given");
    }
}
