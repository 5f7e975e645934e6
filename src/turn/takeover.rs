//! Takeover: an expert claims a conversation while an agent answers. The answer ends at its last stored record.
//!
//! The stored part is what the visitor, the expert and the history keep. Readers may have up to 100 ms more;
//! `keep` in the final frame tells them how many frames count.

use serde_json::json;

use super::{Engine, finish::stored, frame::Frame, log::Log, metadata::CONFIRMS};
use crate::{
    agents::ShownWidget,
    store::{
        FrameSeq, TurnId,
        assignments::{PartialAnswer, TruncatedAnswer},
        begin::Started,
        messages::FinishReason,
        turns::AnswerMessage,
    },
};

/// The part of an answer that is kept, with its final record.
pub(crate) fn truncated(partial: PartialAnswer) -> TruncatedAnswer {
    let log = Log::new(Some((partial.turn_id, partial.attempt)), false);
    for piece in &partial.pieces {
        log.load(piece.first_seq, &piece.records);
    }
    let keep = FrameSeq::of(log.count());
    let shown = log.with_records(|records| {
        let frames = records.iter().filter_map(|record| record.frame);
        let shown = frames.filter_map(|frame| frame.widget.clone().zip(frame.message_id));
        shown.collect::<Vec<_>>()
    });
    let widgets = shown.into_iter().map(|(widget, message_id)| {
        // The call that waits for consent is in the metadata of the tool's recorded result.
        let asks = partial
            .said
            .iter()
            .find(|said| said.component_data.as_ref().map(|data| &data.0) == Some(&widget.data));
        let confirms = asks.and_then(|said| said.metadata.as_ref());
        let confirms = confirms
            .and_then(|metadata| metadata.0.get(CONFIRMS))
            .cloned();
        let shown = ShownWidget {
            widget,
            confirms: None,
            is_made: false,
        };
        let mut widget = stored((shown, message_id));
        widget.confirms = confirms.map(|consent| json!({ CONFIRMS: consent }));
        widget
    });
    let widgets = widgets.collect();
    let body = log.text();
    let answer = (!body.is_empty()).then_some(AnswerMessage {
        message_id: partial.message_id,
        body,
        metadata: None,
    });
    let mut last = Frame::last(FinishReason::Handoff, None, partial.now);
    last.keep = Some(keep);
    last.message_id = answer.as_ref().map(|answer| answer.message_id);
    let (records, last_seq) = log.with_last(last);
    TruncatedAnswer {
        keep,
        answer,
        widgets,
        records,
        last_seq,
    }
}

impl Engine {
    /// Ends a turn that runs here and that an expert has taken over, and settles its tokens.
    pub(crate) async fn taken_over(&self, turn: TurnId) {
        if let Some(running) = self.running().get(&turn) {
            self.leases.note_renewal(turn, running.fence, None);
        }
        self.settle(turn).await;
    }

    /// Ends the log of a turn that this instance has lost. After a takeover the final frame says how many
    /// frames count; otherwise readers look up where the turn goes on.
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
        let stored = Log::stored(started.turn_id, kept.attempt, &kept.records);
        match stored.last() {
            Some(last) => log.close_beyond(last),
            None => log.give_up(),
        }
        Some(FinishReason::Handoff)
    }
}
