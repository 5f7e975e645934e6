//! The durable log: what the running turns of this instance have said, a moment behind.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Engine, Running};
use crate::store::{FrameSeq, StoreError, TurnId, logs::NewLogSegment};

/// How far the durable log may be behind.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// The same, while a turn is read on another instance.
const FLUSH_INTERVAL_WATCHED: Duration = Duration::from_millis(30);

/// About how many bytes of records go with one statement: what is sent is held several times over.
const STATEMENT_BYTES: usize = 512 * 1024;

/// What was written, and for whom.
#[derive(PartialEq, Eq)]
pub(super) enum Flushed {
    /// Some of it is read on another instance.
    Watched,
    /// None of it is, as far as is known.
    Unwatched,
    /// No running turn has said anything since.
    Nothing,
}

impl Engine {
    /// Writes what has been said since, again and again, for ever: one statement for all turns, as long
    /// as they have not said very much.
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

    /// Writes what has been said since. What could not be written goes with the next.
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
                        // What was written just before a crash may be lost as well.
                        running
                            .iter()
                            .for_each(|(_, running)| running.log.set_flushed(0));
                    }
                    tracing::debug!(error.cause = %error, "the durable log was not written");
                    // A row that is locked holds up its own statement, not those of other turns.
                    if error.is_away() {
                        return Flushed::Unwatched;
                    }
                }
            }
        }
    }

    /// Writes pieces; whether one of their turns is read on another instance.
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
            self.leases.heard(turn, running.fence, renewed);
        }
        Ok(mine.values().any(|mine| mine.is_watched))
    }
}

/// What the next turns have said since, up to [`STATEMENT_BYTES`].
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
