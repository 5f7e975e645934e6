//! A turn's answer in one piece: the stream, folded.

use futures_util::StreamExt;

use super::{
    event::{Frame, frames},
    log::Reader,
};
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
    // How long it was after each frame: where a person takes over, the last ones do not count.
    let mut lengths = Vec::new();
    let mut widgets = Vec::new();
    while let Some(bytes) = reader.next().await {
        for frame in frames(&bytes) {
            if let Some(keep) = frame.keep {
                let last = usize::try_from(keep)
                    .ok()
                    .and_then(|keep| keep.checked_sub(1));
                let kept = last.and_then(|last| lengths.get(last)).copied();
                content.truncate(kept.unwrap_or_default());
            }
            content.push_str(&frame.content);
            lengths.push(content.len());
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
