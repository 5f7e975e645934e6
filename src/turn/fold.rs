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
    let mut widgets: Vec<(usize, Widget, MessageId)> = Vec::new();
    while let Some(bytes) = reader.next().await {
        for frame in frames(&bytes) {
            if let Some(keep) = frame.keep {
                let last = keep.count().checked_sub(1);
                let kept = last.and_then(|last| lengths.get(last)).copied();
                content.truncate(kept.unwrap_or_default());
                widgets.retain(|(at, ..)| last.is_some_and(|last| *at <= last));
            }
            content.push_str(&frame.content);
            let shown = frame.widget.clone().zip(frame.message_id);
            widgets.extend(shown.map(|(widget, id)| (lengths.len(), widget, id)));
            lengths.push(content.len());
            if frame.is_final {
                let widgets = widgets.into_iter();
                return Some(Answer {
                    content,
                    widgets: widgets.map(|(_, widget, id)| (widget, id)).collect(),
                    last: frame,
                });
            }
        }
    }
    None
}
