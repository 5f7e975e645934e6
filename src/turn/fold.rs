//! A turn's answer in one piece: the stream, folded.

use futures_util::StreamExt;
use serde::Deserialize;

use super::{event::Frame, log::Reader};
use crate::{store::MessageId, widgets::Widget};

/// All that a turn said.
#[derive(Debug)]
pub struct Answer {
    /// The text.
    pub content: String,
    /// The widgets that it showed, and what they are answered by.
    pub widgets: Vec<(Widget, MessageId)>,
    /// The final frame.
    pub last: Frame<'static>,
}

/// Reads a turn to its end. `None` if the log was given up before it had one.
pub async fn fold(mut reader: Reader) -> Option<Answer> {
    let mut content = String::new();
    let mut widgets = Vec::new();
    while let Some(frames) = reader.next().await {
        for line in frames.split(|byte| *byte == b'\n') {
            let Some(json) = line.strip_prefix(b"data: ") else {
                continue;
            };
            let mut json = serde_json::Deserializer::from_slice(json);
            let Ok(frame) = Frame::deserialize(&mut json) else {
                continue;
            };
            content.push_str(&frame.content);
            widgets.extend(frame.widget.clone().zip(frame.message_id));
            if frame.is_final {
                return Some(Answer {
                    content,
                    widgets,
                    last: frame,
                });
            }
        }
    }
    None
}
