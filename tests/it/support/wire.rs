//! The vendors' wire formats.

use serde_json::json;

/// A piece of text, in the vendor's format.
pub fn text_event(anthropic: bool, text: &str) -> String {
    if anthropic {
        let data = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        return format!("event: content_block_delta\ndata: {data}\n\n");
    }
    let data = json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {data}\n\n")
}

/// The end of an answer, in the vendor's format.
pub fn end_event(anthropic: bool, reason: &str) -> String {
    if anthropic {
        let reason = match reason {
            "length" => "max_tokens",
            "tool_calls" => "tool_use",
            _ => "end_turn",
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

/// An answer's token usage, in the vendor's format. May come before the finish reason or after it.
pub fn usage_event(anthropic: bool, read: u64, written: u64) -> String {
    if anthropic {
        let usage = json!({"input_tokens": read, "output_tokens": written});
        let data = json!({"type": "message_start", "message": {"usage": usage}});
        return format!("event: message_start\ndata: {data}\n\n");
    }
    let usage = json!({"prompt_tokens": read, "completion_tokens": written});
    let data = json!({"choices": [], "usage": usage});
    format!("data: {data}\n\n")
}

/// Tool calls, in the vendor's format. Arguments come in two pieces; the pieces of several calls
/// alternate if the vendor may do so.
pub fn calls_event(anthropic: bool, calls: &[[String; 3]]) -> String {
    let halves = |arguments: &str| {
        let (head, tail) = arguments.split_at(arguments.len() / 2);
        [head.to_owned(), tail.to_owned()]
    };
    let mut events = String::new();
    for (at, [id, name, arguments]) in (1..).zip(calls).filter(|_| anthropic) {
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let begin = json!({"type": "content_block_start", "index": at, "content_block": block});
        events.push_str(&format!("event: content_block_start\ndata: {begin}\n\n"));
        for half in halves(arguments) {
            let delta = json!({"type": "input_json_delta", "partial_json": half});
            let delta = json!({"type": "content_block_delta", "index": at, "delta": delta});
            events.push_str(&format!("event: content_block_delta\ndata: {delta}\n\n"));
        }
        let stop = json!({"type": "content_block_stop", "index": at});
        events.push_str(&format!("event: content_block_stop\ndata: {stop}\n\n"));
    }
    let mut part = |call: serde_json::Value| {
        let delta = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]});
        events.push_str(&format!("data: {delta}\n\n"));
    };
    for (at, [id, name, _]) in (0..).zip(calls).filter(|_| !anthropic) {
        part(
            json!({"index": at, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}),
        );
    }
    for half in 0..2 {
        for (at, [_, _, arguments]) in (0..).zip(calls).filter(|_| !anthropic) {
            part(json!({"index": at, "function": {"arguments": halves(arguments)[half]}}));
        }
    }
    events
}
