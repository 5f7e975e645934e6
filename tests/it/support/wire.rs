//! The vendors' wire formats.

use serde_json::json;

/// A piece of text as the vendor frames it.
pub fn text_event(anthropic: bool, text: &str) -> String {
    if anthropic {
        let data = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        return format!("event: content_block_delta\ndata: {data}\n\n");
    }
    let data = json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {data}\n\n")
}

/// The end of an answer as the vendor frames it.
pub fn end_event(anthropic: bool, reason: &str) -> String {
    if anthropic {
        let reason = if reason == "length" {
            "max_tokens"
        } else {
            "end_turn"
        };
        let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}});
        let stop = json!({"type": "message_stop"});
        return format!(
            "event: message_delta\ndata: {delta}\n\nevent: message_stop\ndata: {stop}\n\n"
        );
    }
    let data = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    format!("data: {data}\n\ndata: [DONE]\n\n")
}
