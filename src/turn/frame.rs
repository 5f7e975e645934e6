//! Frames: the JSON objects that clients see of a turn's records, and the records' ids. `routes/sse.rs` and
//! `routes/ws/client.rs` write their bytes to clients.

use std::{borrow::Cow, fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::ser::{CompactFormatter, Formatter};

use crate::{
    clock::Timestamp,
    error::Error,
    store::{Attempt, FrameSeq, MessageId, TurnId, messages::FinishReason, sessions::Mode},
    widgets::Widget,
};

/// The payload of one record, the same in every protocol. Fields may be added, never renamed or removed.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Frame<'a> {
    /// Text to append; may be empty.
    pub content: Cow<'a, str>,
    /// The same text again, for clients that read `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// When the frame was made.
    pub timestamp: Timestamp,
    /// True for the turn's last frame.
    pub is_final: bool,
    /// True if nothing of this turn is stored because the database is away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
    /// What the frame is about; absent if it only adds text or ends the turn without an error.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FrameKind>,
    /// A tool that the agent calls, and the status of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<FrameTool<'a>>,
    /// A widget to look at or to fill in. An answer to it refers to `message_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widget: Option<Widget>,
    /// Who answers from now on; in a final frame, who has the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// In the final frame after a takeover: the number of the last frame that counts. Remove the text and
    /// widgets of later frames from the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub keep: Option<FrameSeq>,
    /// The agent that the conversation moved to; in a final frame, the one that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Cow<'a, str>>,
    /// In a final frame: the id of the stored answer. With a widget: the widget's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Why the turn ended, in a final frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// What failed, in a final frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<FrameError<'a>>,
}

/// What a frame is about that does more than add text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FrameKind)]
pub enum FrameKind {
    /// The conversation moved to another agent.
    Agent,
    /// The agent calls a tool.
    Tool,
    /// A widget to look at or to fill in.
    Widget,
    /// Somebody else answers from now on.
    Mode,
    /// A new attempt begins: delete what this turn showed so far.
    Reset,
    /// The turn failed.
    Error,
}

/// A tool that an agent calls.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FrameTool<'a> {
    /// The call's id: the same in all its frames, and the id of its message in the history. Calls run in
    /// parallel.
    pub id: MessageId,
    /// Its name.
    pub name: Cow<'a, str>,
    /// The status of the call.
    pub status: ToolStatus,
}

/// The status of a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It is running.
    Running,
    /// It succeeded.
    Done,
    /// It failed; the agent may try something else.
    Failed,
    /// The visitor has to consent first.
    Waiting,
}

/// What failed: a code of [`crate::error::Code`] and a short description.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FrameError<'a> {
    /// The code.
    pub code: Cow<'a, str>,
    /// The description.
    pub message: Cow<'a, str>,
}

impl<'a> Frame<'a> {
    /// Text to append.
    pub fn text(content: impl Into<Cow<'a, str>>, timestamp: Timestamp) -> Self {
        Self {
            content: content.into(),
            text: None,
            timestamp,
            is_final: false,
            degraded: false,
            kind: None,
            tool: None,
            widget: None,
            mode: None,
            keep: None,
            agent: None,
            message_id: None,
            finish_reason: None,
            error: None,
        }
    }

    /// The conversation moved to another agent.
    pub fn agent(agent: &'a str, timestamp: Timestamp) -> Self {
        Self {
            kind: Some(FrameKind::Agent),
            agent: Some(agent.into()),
            ..Self::text("", timestamp)
        }
    }

    /// The agent calls a tool.
    pub fn tool(id: MessageId, name: &'a str, status: ToolStatus, timestamp: Timestamp) -> Self {
        Self {
            kind: Some(FrameKind::Tool),
            tool: Some(FrameTool {
                id,
                name: name.into(),
                status,
            }),
            ..Self::text("", timestamp)
        }
    }

    /// A widget to look at or to fill in.
    pub fn widget(widget: Widget, message_id: MessageId, timestamp: Timestamp) -> Self {
        Self {
            kind: Some(FrameKind::Widget),
            widget: Some(widget),
            message_id: Some(message_id),
            ..Self::text("", timestamp)
        }
    }

    /// Somebody else answers from now on.
    pub fn mode(mode: Mode, timestamp: Timestamp) -> Self {
        Self {
            kind: Some(FrameKind::Mode),
            mode: Some(mode),
            ..Self::text("", timestamp)
        }
    }

    /// A new attempt begins: clients delete what this turn showed before.
    pub fn reset(timestamp: Timestamp) -> Self {
        Self {
            kind: Some(FrameKind::Reset),
            ..Self::text("", timestamp)
        }
    }

    /// The last frame of a turn.
    pub fn last(reason: FinishReason, error: Option<&Error>, timestamp: Timestamp) -> Self {
        let error = error.map(|error| FrameError {
            code: error.code.as_str().into(),
            message: error.code.title().into(),
        });
        Self {
            is_final: true,
            finish_reason: Some(reason),
            mode: (reason == FinishReason::Handoff).then_some(Mode::Expert),
            kind: error.is_some().then_some(FrameKind::Error),
            error,
            ..Self::text("", timestamp)
        }
    }

    /// Appends the frame as JSON to a buffer. The JSON has no line break.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        if self.is_only_text() {
            buffer.extend_from_slice(b"{\"content\":");
            write_json(&self.content, buffer);
            buffer.extend_from_slice(b",\"timestamp\":\"");
            buffer.extend_from_slice(&self.timestamp.digits());
            buffer.extend_from_slice(b"\",\"is_final\":false}");
        } else {
            write_json(self, buffer);
        }
    }

    /// True if the frame is not final and has nothing but text.
    pub fn is_text(&self) -> bool {
        self.kind.is_none() && !self.is_final
    }

    /// The same frame, owning its text.
    pub fn into_owned(self) -> Frame<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Frame {
            content: owned(self.content),
            text: self.text.map(owned),
            tool: self.tool.map(|tool| FrameTool {
                id: tool.id,
                name: owned(tool.name),
                status: tool.status,
            }),
            agent: self.agent.map(owned),
            error: self.error.map(|error| FrameError {
                code: owned(error.code),
                message: owned(error.message),
            }),
            timestamp: self.timestamp,
            is_final: self.is_final,
            degraded: self.degraded,
            kind: self.kind,
            widget: self.widget,
            mode: self.mode,
            keep: self.keep,
            message_id: self.message_id,
            finish_reason: self.finish_reason,
        }
    }

    /// True if only the three mandatory fields are set. Nearly all frames are like that; [`Frame::write`]
    /// serialises them without visiting the other fields.
    fn is_only_text(&self) -> bool {
        let Self {
            content: _,
            timestamp: _,
            text: None,
            is_final: false,
            degraded: false,
            kind: None,
            tool: None,
            widget: None,
            mode: None,
            keep: None,
            agent: None,
            message_id: None,
            finish_reason: None,
            error: None,
        } = self
        else {
            return false;
        };
        true
    }
}

pub(crate) fn write_json<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) {
    let mut json = serde_json::Serializer::with_formatter(buffer, OneLine(CompactFormatter));
    // This cannot fail: frames hold only strings, flags and ids, and a vector accepts every write.
    drop(value.serialize(&mut json));
}

/// JSON with U+0085, U+2028 and U+2029 escaped: some clients split lines there.
struct OneLine(CompactFormatter);

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return self.0.write_string_fragment(writer, fragment);
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            let (plain, from) = rest.split_at(at);
            let separator = from.chars().next().unwrap_or_default();
            self.0.write_string_fragment(writer, plain)?;
            write!(writer, "\\u{:04x}", u32::from(separator))?;
            rest = from.get(separator.len_utf8()..).unwrap_or_default();
        }
        self.0.write_string_fragment(writer, rest)
    }
}

/// A frame's id: `{turn_id}.{attempt}:{seq}`. Cursors compare by attempt, then seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The turn.
    pub turn_id: TurnId,
    /// The attempt, from 1.
    pub attempt: Attempt,
    /// The frame's number, from 1; 0 is before the first.
    pub seq: FrameSeq,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.turn_id, self.attempt, self.seq)
    }
}

/// The text is not a frame's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(id: &str) -> Result<Self, NoCursor> {
        let (turn_id, rest) = id.split_once('.').ok_or(NoCursor)?;
        let (attempt, seq) = rest.split_once(':').ok_or(NoCursor)?;
        let cursor = Self {
            turn_id: turn_id.parse().map_err(|_| NoCursor)?,
            attempt: attempt.parse().map_err(|_| NoCursor)?,
            seq: seq.parse().map_err(|_| NoCursor)?,
        };
        (cursor.attempt >= Attempt::FIRST && cursor.seq >= FrameSeq::START)
            .then_some(cursor)
            .ok_or(NoCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_json_without_line_breaks() {
        let mut buffer = Vec::new();
        let frame = Frame::text("a\nb\u{2028}c\u{85}\"", Timestamp(1_763_648_659_941_641));
        frame.write(&mut buffer);
        let mut derived = Vec::new();
        write_json(&frame, &mut derived);
        assert_eq!(buffer, derived);
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            "{\"content\":\"a\\nb\\u2028c\\u0085\\\"\",\
             \"timestamp\":\"2025-11-20T14:24:19.941641Z\",\"is_final\":false}"
        );
    }

    #[test]
    fn cursors_compare_by_attempt_then_seq() {
        let cursor =
            |id: &str| format!("0198c0de-0000-7000-8000-000000000000.{id}").parse::<Cursor>();
        assert!(cursor("1:9").unwrap() < cursor("2:0").unwrap());
        assert!(cursor("2:9").unwrap() < cursor("2:10").unwrap());
        for bad in ["", "1", "0:1", "1:-1", "1:x", "1:1:1"] {
            assert_eq!(cursor(bad), Err(NoCursor), "{bad}");
        }
        assert_eq!(
            cursor("2:10").unwrap().to_string().parse(),
            Ok(cursor("2:10").unwrap())
        );
    }
}
