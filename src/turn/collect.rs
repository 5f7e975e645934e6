//! A turn's answer in one piece: the stream, folded.

use super::{
    frame::Frame,
    log::{Reader, Record},
};
use crate::{store::MessageId, widgets::Widget};

/// All that a turn said.
#[derive(Debug)]
pub struct WholeAnswer {
    /// The text.
    pub content: String,
    /// The widgets that it showed, and what they are answered by.
    pub widgets: Vec<(Widget, MessageId)>,
    /// The final frame.
    pub last: Frame<'static>,
}

/// An answer that is being put together.
#[derive(Default)]
struct Partial {
    content: String,
    /// How long it was after each record: where a person takes over, the last ones do not count.
    lengths: Vec<usize>,
    /// The widgets, and which records showed them.
    widgets: Vec<(usize, Widget, MessageId)>,
}

/// Reads a turn to its end. `None` if the log was given up before it had one.
pub async fn collect(mut reader: Reader) -> Option<WholeAnswer> {
    let mut partial = Partial::default();
    loop {
        let last = reader.read(|records| {
            records.iter().for_each(|record| partial.add(&record));
            let last = records.iter().filter(Record::is_final).last();
            last.and_then(|last| last.frame.cloned())
        });
        if let Some(last) = last.await? {
            let widgets = partial.widgets.into_iter();
            return Some(WholeAnswer {
                content: partial.content,
                widgets: widgets.map(|(_, widget, id)| (widget, id)).collect(),
                last,
            });
        }
    }
}

impl Partial {
    fn add(&mut self, record: &Record<'_>) {
        if let Some(keep) = record.frame.and_then(|frame| frame.keep) {
            let last = keep.count().checked_sub(1);
            let kept = last.and_then(|last| self.lengths.get(last)).copied();
            self.content.truncate(kept.unwrap_or_default());
            self.widgets
                .retain(|(at, ..)| last.is_some_and(|last| *at <= last));
        }
        self.content.push_str(record.text);
        let shown = record.frame.and_then(|frame| {
            let widget = frame.widget.clone().zip(frame.message_id);
            widget.map(|(widget, id)| (self.lengths.len(), widget, id))
        });
        self.widgets.extend(shown);
        self.lengths.push(self.content.len());
    }
}
