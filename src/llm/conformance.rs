//! Tests of both wire formats: the result must not depend on how the network splits the stream,
//! and servers that deviate from the API must be understood.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Failure, Usage, anthropic, events, events::Format, openai};
use crate::store::messages::FinishReason;

const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a stream: its text, and how it ended.
async fn read(format: Format, packets: Vec<Vec<u8>>) -> (String, Result<FinishReason, Failure>) {
    let bytes = stream::iter(packets.into_iter().map(|packet| Ok(Bytes::from(packet))));
    let events = events::ByteFeed::new(bytes.boxed(), IDLE_TIMEOUT).events();
    let mut chunks = events::Reading::new(events, format);
    let mut text = String::new();
    loop {
        match chunks.next().await {
            Some(Ok(chunk)) => {
                text.push_str(&chunk.text);
                if let Some(reason) = chunk.finish {
                    return (text, Ok(reason));
                }
            }
            Some(Err(error)) => return (text, Err(error.kind)),
            None => panic!("a stream ends with a reason or an error"),
        }
    }
}

/// Reads a stream whole, byte by byte, and split in two at every place; the results must be equal.
async fn read_however_cut(format: Format, body: &[u8]) -> (String, Result<FinishReason, Failure>) {
    let whole = read(format, vec![body.to_vec()]).await;
    let bytes = read(format, body.iter().map(|byte| vec![*byte]).collect()).await;
    assert_eq!(whole, bytes, "byte by byte");
    for at in 1..body.len() {
        let (head, tail) = body.split_at(at);
        assert_eq!(
            whole,
            read(format, vec![head.to_vec(), tail.to_vec()]).await,
            "cut at {at}"
        );
    }
    whole
}

async fn openai_says(body: &[u8]) -> (String, Result<FinishReason, Failure>) {
    read_however_cut(openai::OPENAI_FORMAT, body).await
}

async fn anthropic_says(body: &[u8]) -> (String, Result<FinishReason, Failure>) {
    read_however_cut(anthropic::ANTHROPIC_FORMAT, body).await
}

fn said(text: &str, reason: FinishReason) -> (String, Result<FinishReason, Failure>) {
    (text.to_owned(), Ok(reason))
}

#[tokio::test]
async fn openai_as_the_vendor_sends_it() {
    let body = concat!(
        r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        "\n\n",
        r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"Grüß "},"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"Gott 😀"},"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        "\n\n",
        r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#,
        "\n\ndata: [DONE]\n\n",
    );
    assert_eq!(
        openai_says(body.as_bytes()).await,
        said("Grüß Gott 😀", FinishReason::Stop)
    );
}

#[tokio::test]
async fn anthropic_as_the_vendor_sends_it() {
    let body = concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{"input_tokens":9}}}"#,
        "\n\nevent: content_block_start\n",
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"secret"}}"#,
        "\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_start\n",
        r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grüß Gott 😀"}}"#,
        "\n\nevent: content_block_stop\n",
        r#"data: {"type":"content_block_stop","index":1}"#,
        "\n\nevent: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":3}}"#,
        "\n\nevent: message_stop\n",
        r#"data: {"type":"message_stop"}"#,
        "\n\n",
    );
    assert_eq!(
        anthropic_says(body.as_bytes()).await,
        said("Grüß Gott 😀", FinishReason::Length)
    );
}

#[tokio::test]
async fn odd_openai_servers_are_understood() {
    use FinishReason::{Length, Stop};
    let stop = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    for (what, body, expected) in [
        ("choices null, empty or absent", format!("data: {{\"choices\":null}}\n\ndata: {{\"choices\":[]}}\n\ndata: {{}}\n\n{stop}\n\n"), said("", Stop)),
        ("a choice without a delta", format!("data: {{\"choices\":[{{\"index\":0}}]}}\n\n{stop}\n\n"), said("", Stop)),
        ("content null", format!("data: {{\"choices\":[{{\"delta\":{{\"content\":null}}}}]}}\n\n{stop}\n\n"), said("", Stop)),
        (
            "content in parts",
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"a\"}},\"b\",{{\"type\":\"x\",\"y\":[1]}}]}}}}]}}\n\n{stop}\n\n"),
            said("ab", Stop),
        ),
        ("usage on every chunk", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"length\"}],\"usage\":{}}\n\n".into(), said("a", Length)),
        ("comments and blank lines", format!(": ping\n\n\n\n:\n: x\n\ndata: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n: ping\n\n{stop}\n\n"), said("a", Stop)),
        ("DONE and no reason, with a space", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE] \n\n".into(), said("a", Stop)),
        ("a reason and no DONE", format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{stop}\n\n"), said("a", Stop)),
        ("a last event without a blank line", format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{stop}"), said("a", Stop)),
        ("CRLF and a BOM", format!("\u{FEFF}data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\r\n\r\n{stop}\r\n\r\n"), said("a", Stop)),
        ("no space after the colon", format!("data:{{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{stop}\n\n"), said("a", Stop)),
        ("an emoji cut into surrogates", format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"\\ud83d\"}}}}]}}\n\n{stop}\n\n"), said("\u{FFFD}", Stop)),
        ("reasoning", format!("data: {{\"choices\":[{{\"delta\":{{\"reasoning_content\":\"secret\",\"content\":\"\"}}}}]}}\n\n{stop}\n\n"), said("", Stop)),
    ] {
        assert_eq!(openai_says(body.as_bytes()).await, expected, "{what}");
    }
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_the_answer_goes_on() {
    let mut body = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\xff\xc3\"}}]}\n\n".to_vec();
    body.extend_from_slice(
        b"data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n",
    );
    assert_eq!(
        openai_says(&body).await,
        said("a\u{FFFD}\u{FFFD}b", FinishReason::Stop)
    );
    let mut body =
        b"data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\xff\"}}\n\n".to_vec();
    body.extend_from_slice(b"data: {\"type\":\"message_stop\"}\n\n\xe2\x82");
    assert_eq!(
        anthropic_says(&body).await,
        said("a\u{FFFD}", FinishReason::Stop)
    );
}

#[tokio::test]
async fn an_end_without_a_reason_is_a_cut() {
    for (format, body) in [
        (
            openai::OPENAI_FORMAT as Format,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        ),
        (
            anthropic::ANTHROPIC_FORMAT,
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n",
        ),
    ] {
        assert_eq!(
            read_however_cut(format, body.as_bytes()).await,
            ("a".into(), Err(Failure::Cut))
        );
        assert_eq!(
            read(format, vec![]).await,
            (String::new(), Err(Failure::Cut))
        );
    }
}

#[tokio::test]
async fn errors_within_a_stream_are_reported() {
    for (format, text, error) in [
        (
            openai::OPENAI_FORMAT as Format,
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"error":{"message":"no","code":500}}"#,
        ),
        (
            anthropic::ANTHROPIC_FORMAT,
            r#"{"type":"content_block_delta","delta":{"text":"a"}}"#,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
    ] {
        let body = format!("data: {text}\n\nevent: error\ndata: {error}\n\n");
        assert_eq!(
            read_however_cut(format, body.as_bytes()).await,
            ("a".into(), Err(Failure::Reported))
        );
        let body = format!("data: {text}\n\ndata: <html>\n\n");
        assert_eq!(
            read_however_cut(format, body.as_bytes()).await,
            ("a".into(), Err(Failure::Unreadable))
        );
    }
}

#[tokio::test]
async fn the_cap_is_on_an_event_and_not_on_the_answer() {
    let event = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}],\"padding\":\"{}\"}}\n\n",
        "x".repeat(60_000)
    );
    let end = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_vec();
    let packets = std::iter::repeat_n(event.into_bytes(), 200).chain([end]);
    let (text, ended) = read(openai::OPENAI_FORMAT, packets.collect()).await;
    assert_eq!((text.len(), ended), (200, Ok(FinishReason::Stop)));
}

#[tokio::test]
async fn what_an_answer_has_cost_is_read_wherever_it_stands() {
    let cost = async |format: Format, body: &str| {
        let bytes = stream::iter([Ok(Bytes::from(body.to_owned()))]);
        let events = events::ByteFeed::new(bytes.boxed(), IDLE_TIMEOUT).events();
        let chunks = events::Reading::new(events, format);
        let add = async |usage: Usage, chunk: Result<super::Chunk, _>| {
            usage.updated(chunk.ok().and_then(|chunk| chunk.usage))
        };
        chunks.fold(Usage::default(), add).await
    };
    let expected = Usage {
        input: 9,
        output: 3,
    };
    let text = r#"data: {"choices":[{"delta":{"content":"a"}}],"usage":null}"#;
    let last = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    let after = format!("{text}\n\n{last}\n\n{usage}\n\ndata: [DONE]\n\n");
    assert_eq!(cost(openai::OPENAI_FORMAT, &after).await, expected);
    let begun = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":4,"cache_read_input_tokens":5}}}"#;
    let ended = r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#;
    let apart = format!("{begun}\n\n{ended}\n\n");
    assert_eq!(cost(anthropic::ANTHROPIC_FORMAT, &apart).await, expected);
}
