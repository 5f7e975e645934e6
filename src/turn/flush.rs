//! The durable log: what the running turns of this instance have said, a moment behind.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
        if running.is_empty() {
            return Flushed::Unwatched;
        }
        let mut pieces = Vec::new();
        let mut written = Vec::new();
        for (turn, running) in &running {
            let Some((frames, first_seq, last_seq)) = running.log.unflushed() else {
                continue;
            };
            written.push((*turn, running, last_seq));
            pieces.push(LogPiece {
                turn_id: *turn,
                conversation_id: running.conversation_id,
                fence: running.fence,
                attempt: running.attempt,
                first_seq: i64::try_from(first_seq).unwrap_or(i64::MAX),
                last_seq: i64::try_from(last_seq).unwrap_or(i64::MAX),
                frames,
            });
        }
        if pieces.is_empty() {
            return Flushed::Nothing;
        }
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
        let mine: HashMap<_, _> = mine.into_iter().map(|mine| (mine.turn_id, mine)).collect();
        for (turn, running, last_seq) in written {
            let renewed = mine.get(&turn);
            if renewed.is_some() {
                running.log.set_flushed(last_seq);
            }
            self.leases.heard(turn, running.fence, renewed);
        }
        match mine.values().any(|mine| mine.is_watched) {
            true => Flushed::Watched,
            false => Flushed::Unwatched,
        }
    }
}
