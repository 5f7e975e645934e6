//! The durable log: stores the records of this instance's running turns, with a short delay.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Engine, Running};
use crate::store::{FrameSeq, StoreError, TurnId, logs::NewLogSegment};

/// Pause between flushes: about how far the durable log may be behind.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// The same, while a turn is read on another instance.
const FLUSH_INTERVAL_WATCHED: Duration = Duration::from_millis(30);

/// Approximate bytes of records per statement. Bounds memory: data on its way to the database exists in several
/// copies.
const STATEMENT_BYTES: usize = 512 * 1024;

/// What a flush wrote.
#[derive(PartialEq, Eq)]
pub(super) enum Flushed {
    /// Some of its turns are read on another instance.
    Watched,
    /// No other instance reads its turns, as far as known.
    Unwatched,
    /// No turn had new records.
    Nothing,
}

impl Engine {
    /// Flushes for ever, with one statement for all turns unless they exceed [`STATEMENT_BYTES`].
    pub(super) async fn flush_for_ever(self: Arc<Self>) {
        let mut pause = FLUSH_INTERVAL;
        loop {
            sleep(pause).await;
            pause = match self.flush().await {
                Flushed::Watched => FLUSH_INTERVAL_WATCHED,
                Flushed::Unwatched => FLUSH_INTERVAL,
                Flushed::Nothing => pause,
            };
        }
    }

    /// Writes the new records of all turns. Records that could not be written are part of the next flush.
    pub(super) async fn flush(&self) -> Flushed {
        let _alone = self.flushing.lock().await;
        let running: Vec<_> = self
            .running()
            .iter()
            .map(|(turn, running)| (*turn, running.clone()))
            .collect();
        if running.is_empty() {
            return Flushed::Unwatched;
        }
        let mut rest = running.iter();
        let mut flushed = Flushed::Nothing;
        loop {
            let pieces = unflushed(&mut rest);
            if pieces.is_empty() {
                return flushed;
            }
            match self.write(pieces).await {
                Ok(true) => flushed = Flushed::Watched,
                Ok(false) if flushed == Flushed::Nothing => flushed = Flushed::Unwatched,
                Ok(false) => {}
                Err(error) => {
                    if let StoreError::Unknown(_) = error {
                        // If the database crashed, it may have lost earlier records too, so write all of them
                        // again.
                        running
                            .iter()
                            .for_each(|(_, running)| running.log.set_flushed(0));
                    }
                    tracing::debug!(error.cause = %error, "the durable log was not written");
                    // A locked row only fails its own statement: go on with the other turns.
                    if error.is_away() {
                        return Flushed::Unwatched;
                    }
                }
            }
        }
    }

    /// Writes segments. True if one of their turns is read on another instance.
    async fn write(&self, pieces: Vec<(&Running, NewLogSegment)>) -> Result<bool, StoreError> {
        let (running, pieces): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
        let written: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.turn_id, piece.last_seq))
            .collect();
        let mine = self.store.write_logs(pieces).await?;
        let mine: HashMap<_, _> = mine.into_iter().map(|mine| (mine.turn_id, mine)).collect();
        for (running, (turn, last_seq)) in running.into_iter().zip(written) {
            let renewed = mine.get(&turn);
            if renewed.is_some() {
                running.log.set_flushed(last_seq.count());
            }
            self.leases.note_renewal(turn, running.fence, renewed);
        }
        Ok(mine.values().any(|mine| mine.is_watched))
    }
}

/// The new records of the next turns, up to about [`STATEMENT_BYTES`].
fn unflushed<'a>(
    turns: &mut impl Iterator<Item = &'a (TurnId, Running)>,
) -> Vec<(&'a Running, NewLogSegment)> {
    let mut pieces = Vec::new();
    let mut bytes = 0;
    while bytes < STATEMENT_BYTES
        && let Some((turn, running)) = turns.next()
    {
        let Some((records, first_seq, last_seq)) = running.log.unflushed() else {
            continue;
        };
        bytes += records.len();
        let piece = NewLogSegment {
            turn_id: *turn,
            conversation_id: running.conversation_id,
            fence: running.fence,
            attempt: running.attempt,
            first_seq: FrameSeq::of(first_seq),
            last_seq: FrameSeq::of(last_seq),
            records,
        };
        pieces.push((running, piece));
    }
    pieces
}
