//! An answer that a person takes over: it ends where it is stored.
//!
//! What is stored by then is what counts, for the visitor, the person and the history alike. Whoever reads
//! the answer has up to a tenth of a second more of it, and is told how many frames to keep.

use serde_json::json;

use super::{
    Engine,
    event::{Cursor, Frame, frames},
    finish::stored,
    log::Log,
    metadata::CONFIRMS,
};
use crate::{
    agents::Shown,
    store::{
        FrameSeq, TurnId,
        begin::Started,
        holds::{Broken, Cut},
        messages::FinishReason,
        turns::Answer,
    },
};

/// What is kept of an answer, and its last frame. That one has no number of the attempt's, since readers
/// have frames of any number: its id is of the next attempt, which there will not be.
pub(crate) fn cut(broken: Broken) -> Cut {
    let log = Log::new(None, false);
    for piece in &broken.pieces {
        log.append_framed(piece.first_seq, &piece.frames);
    }
    let keep = FrameSeq::of(log.count());
    let mut bytes = log.bytes();
    let mut body = String::new();
    let mut widgets = Vec::new();
    for frame in frames(&bytes) {
        body.push_str(&frame.content);
        if let Some((widget, message_id)) = frame.widget.zip(frame.message_id) {
            // The call that waits for a yes is with what the tool was recorded with.
            let asks = broken.said.iter().find(|said| {
                said.component_data.as_ref().map(|data| &data.0) == Some(&widget.data)
            });
            let confirms = asks.and_then(|said| said.metadata.as_ref());
            let confirms = confirms
                .and_then(|metadata| metadata.0.get(CONFIRMS))
                .cloned();
            let shown = Shown {
                widget,
                confirms: None,
                is_made: false,
            };
            let mut widget = stored((shown, message_id));
            widget.confirms = confirms.map(|consent| json!({ CONFIRMS: consent }));
            widgets.push(widget);
        }
    }
    let answer = (!body.is_empty()).then_some(Answer {
        message_id: broken.message_id,
        body,
        metadata: None,
    });
    let mut last = Frame::last(FinishReason::Handoff, None, broken.now);
    last.keep = Some(keep);
    last.message_id = answer.as_ref().map(|answer| answer.message_id);
    let prefix = Cursor::prefix(broken.turn_id, broken.attempt.next());
    last.write(Some((&prefix, 0)), &mut bytes);
    Cut {
        keep,
        answer,
        widgets,
        frames: bytes,
    }
}

impl Engine {
    /// Tells a turn that runs here that a person has taken it over.
    pub(crate) async fn taken_over(&self, turn: TurnId) {
        if let Some(running) = self.running().get(&turn) {
            self.leases.heard(turn, running.fence, None);
        }
        self.settle(turn).await;
    }

    /// The end of a turn that is no longer its own. Where a person took it over, its readers are told how
    /// much of it counts; else they come back to wherever it goes on.
    pub(super) async fn lose(&self, started: &Started, log: &Log) -> Option<FinishReason> {
        let row = self.store.turn(&started.device, started.turn_id).await;
        let row = row.ok().flatten();
        let is_cut = row.is_some_and(|row| row.keep.is_some() && row.attempt == started.attempt);
        let kept = match is_cut {
            true => self.store.kept(started.turn_id).await.ok(),
            false => None,
        };
        let Some(kept) = kept.and_then(|kept| kept.log) else {
            log.give_up();
            return None;
        };
        let all = Log::complete(&kept.frames);
        log.append_framed(FrameSeq::of(log.count()).next(), &all.last());
        log.finish();
        Some(FinishReason::Handoff)
    }
}
