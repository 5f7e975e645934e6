//! Collects a turn's stream into one answer.

use super::{
    frame::Frame,
    log::{Reader, Record},
};
use crate::{store::MessageId, widgets::Widget};

/// A turn's whole answer.
#[derive(Debug)]
pub struct WholeAnswer {
    /// The text.
    pub content: String,
    /// The widgets that it showed, each with the message id that an answer refers to.
    pub widgets: Vec<(Widget, MessageId)>,
    /// The final frame.
    pub last: Frame<'static>,
}

/// An answer that is being collected.
#[derive(Default)]
struct Partial {
    content: String,
    /// Length of `content` in bytes after each record: after a takeover the last records do not count.
    lengths: Vec<usize>,
    /// The widgets, each with the index of the record that showed it.
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
        self.content.push_str(record.text());
        let shown = record.frame.and_then(|frame| {
            let widget = frame.widget.clone().zip(frame.message_id);
            widget.map(|(widget, id)| (self.lengths.len(), widget, id))
        });
        self.widgets.extend(shown);
        self.lengths.push(self.content.len());
    }
}
