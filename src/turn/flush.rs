//! The durable log: what the running turns of this instance have said, a moment behind.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Engine;
use crate::store::{StoreError, logs::LogPiece};

/// How far the durable log may be behind.
const BEHIND: Duration = Duration::from_millis(100);
/// The same, while a turn is read on another instance.
const WATCHED: Duration = Duration::from_millis(30);

/// What was written, and for whom.
pub(super) enum Flushed {
    /// Some of it is read on another instance.
    Watched,
    /// None of it is, as far as is known.
    Unwatched,
    /// No running turn has said anything since.
    Nothing,
}

impl Engine {
    /// Writes what has been said since, again and again, for ever: one statement for all turns.
    pub(super) async fn flush_for_ever(self: Arc<Self>) {
        let mut pause = BEHIND;
        loop {
            sleep(pause).await;
            pause = match self.flush().await {
                Flushed::Watched => WATCHED,
                Flushed::Unwatched => BEHIND,
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
        let pieces = running.iter().filter_map(|(turn, running)| {
            let (frames, first_seq, last_seq) = running.log.unflushed()?;
            Some(LogPiece {
                turn_id: *turn,
                conversation_id: running.conversation_id,
                fence: running.fence,
                attempt: running.attempt,
                first_seq: i64::try_from(first_seq).unwrap_or(i64::MAX),
                last_seq: i64::try_from(last_seq).unwrap_or(i64::MAX),
                frames,
            })
        });
        let pieces: Vec<LogPiece> = pieces.collect();
        if running.is_empty() {
            return Flushed::Unwatched;
        }
        if pieces.is_empty() {
            return Flushed::Nothing;
        }
        let written: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.turn_id, piece.last_seq))
            .collect();
        let mine = match self.store.write_logs(pieces).await {
            Ok(mine) => mine,
            Err(error) => {
                if let StoreError::Lost(_) = error {
                    // What was written just before a crash may be lost as well.
                    running
                        .iter()
                        .for_each(|(_, running)| running.log.set_flushed(0));
                }
                tracing::debug!(error.cause = %error, "the durable log was not written");
                return Flushed::Unwatched;
            }
        };
        for (turn, last_seq) in written {
            let Some((_, running)) = running.iter().find(|(running, _)| *running == turn) else {
                continue;
            };
            let renewed = mine.iter().find(|mine| mine.turn_id == turn);
            if renewed.is_some() {
                running
                    .log
                    .set_flushed(usize::try_from(last_seq).unwrap_or(usize::MAX));
            }
            self.leases.heard(turn, running.fence, renewed);
        }
        match mine.iter().any(|mine| mine.is_watched) {
            true => Flushed::Watched,
            false => Flushed::Unwatched,
        }
    }
}
