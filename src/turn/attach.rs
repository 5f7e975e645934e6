//! Attaches readers to a turn: to its live log if it runs, to its stored log if it has ended.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    Engine, RemoteTurn, Reply, ResumePoint,
    frame::{Cursor, Frame},
    log::{Log, Reader},
};
use crate::{
    clock::Timestamp,
    error::{Code, Error, Result},
    store::{
        Attempt, ConversationId, FrameSeq, Owner, TurnId,
        messages::{FinishReason, Message},
        turns::{KeptLog, TurnRow},
    },
};

/// How often an abandoned turn that cannot be adopted yet is looked up, and the pause between two look-ups.
const ADOPTION_TRIES: usize = 20;
const ADOPTION_RETRY_DELAY: Duration = Duration::from_millis(100);

impl Engine {
    /// The rest of a turn, wherever it runs; `None` if the reader has all of it. Adopts the turn if its
    /// instance died.
    ///
    /// # Errors
    /// `not_found` for a turn that does not belong to this owner, `gone` if its frames are no longer kept,
    /// `unavailable` if it cannot be adopted yet.
    pub async fn attach(
        self: &Arc<Self>,
        device: &Owner,
        turn: TurnId,
        place: ResumePoint,
    ) -> Result<Option<Reply>> {
        self.nudge_maintenance();
        for _ in 0..ADOPTION_TRIES {
            if let Some(running) = self.running_here(device, turn) {
                let live = LiveAttempt {
                    turn,
                    conversation: running.conversation_id,
                    attempt: running.attempt,
                };
                return self.follow(live, running.log, place).await;
            }
            let row = self.store.turn(device, turn).await;
            let row = row.inspect_err(|_| self.leases.fail())?;
            let row = row.ok_or_else(|| Error::new(Code::NotFound))?;
            if row.finish_reason.is_some() {
                return self.read_finished(row, place).await;
            }
            if !row.is_abandoned {
                let live = LiveAttempt {
                    turn,
                    conversation: row.conversation_id,
                    attempt: row.attempt,
                };
                let mirror = self.mirror(turn, row.attempt);
                let reply = self.follow(live, mirror, place).await?;
                return Ok(reply.map(|reply| Reply {
                    elsewhere: Some(RemoteTurn {
                        device: device.clone(),
                        turn,
                        attempt: row.attempt,
                        place,
                    }),
                    ..reply
                }));
            }
            if !self.adopt(turn).await? {
                sleep(ADOPTION_RETRY_DELAY).await;
            }
        }
        Err(Error::new(Code::Unavailable).detail("The turn is being taken over."))
    }

    /// The rest of the owner's newest turn: after the cursor if that belongs to this turn, else from the
    /// beginning. Without a cursor only a turn that runs. `None` if there is nothing to read.
    ///
    /// # Errors
    /// Those of [`Engine::attach`].
    pub async fn attach_newest(
        self: &Arc<Self>,
        device: &Owner,
        place: ResumePoint,
    ) -> Result<Option<Reply>> {
        let after = place.after;
        let Some(row) = self.store.newest_turn(device).await? else {
            return match after {
                Some(after) => self.attach(device, after.turn_id, place).await,
                None => Ok(None),
            };
        };
        match after {
            None if row.finish_reason.is_some() => Ok(None),
            after => {
                let after = after.filter(|after| after.turn_id == row.id);
                self.attach(device, row.id, ResumePoint { after, ..place })
                    .await
            }
        }
    }

    /// A reader of a running attempt. If the cursor is ahead of the log, the reader waits. If it belongs to an
    /// older attempt, the reader starts over (`restart`) or gets the end of that older attempt.
    async fn follow(
        &self,
        live: LiveAttempt,
        log: Arc<Log>,
        place: ResumePoint,
    ) -> Result<Option<Reply>> {
        if place.has_been_interrupted() {
            return Ok(None);
        }
        let seen = match place.after {
            None => 0,
            Some(after) if after.attempt > live.attempt => usize::MAX,
            Some(after) if after.attempt == live.attempt => after.seq.count(),
            Some(_) if place.restart => 0,
            Some(after) => return self.end_of(live, after).await,
        };
        Ok(Some(live.reply(log.reader(seen))))
    }

    /// The stored rest of an attempt whose instance died, then a final `interrupted`.
    async fn end_of(&self, live: LiveAttempt, after: Cursor) -> Result<Option<Reply>> {
        let start = FrameSeq::START;
        let pieces = self
            .store
            .pieces(after.turn_id, after.attempt, start)
            .await?;
        let log = Log::new(Some((after.turn_id, after.attempt)), false);
        for piece in &pieces {
            log.load(piece.first_seq, &piece.records);
        }
        let seen = after.seq.count().min(log.count());
        let error = Error::new(Code::Interrupted);
        let last = Frame::last(FinishReason::Interrupted, Some(&error), self.clock.now());
        log.close_beyond(last);
        Ok(Some(live.reply(Arc::new(log).reader(seen))))
    }

    async fn read_finished(&self, row: TurnRow, place: ResumePoint) -> Result<Option<Reply>> {
        if place.has_been_interrupted() {
            return Ok(None);
        }
        let kept = self.store.kept(row.id).await?;
        let live = LiveAttempt {
            turn: row.id,
            conversation: row.conversation_id,
            attempt: row.attempt,
        };
        if let Some(log) = kept.log {
            let seen = match place.after {
                None => FrameSeq::START,
                // After a takeover the answer ends at `keep`. A reader that got more still needs the final
                // frame.
                Some(after) if row.keep.is_some() && after.attempt == log.attempt => {
                    after.seq.min(log.last_seq.previous())
                }
                Some(after) if (after.attempt, after.seq) >= (log.attempt, log.last_seq) => {
                    return Ok(None);
                }
                Some(after) if after.attempt == log.attempt && after.seq > FrameSeq::START => {
                    after.seq
                }
                Some(_) if place.restart => FrameSeq::START,
                Some(after) if after.attempt == log.attempt && log.attempt == Attempt::FIRST => {
                    after.seq
                }
                Some(after) => return self.end_of(live, after).await,
            };
            let log = self.finished.share(row.id, &log);
            return Ok(Some(live.reply(log.reader(seen.count()))));
        }
        if row.finish_reason == Some(FinishReason::Interrupted) && kept.answer.is_none() {
            // Its instance died and no other adopted the turn.
            let after = place.after.unwrap_or(Cursor {
                turn_id: row.id,
                attempt: row.attempt,
                seq: FrameSeq::START,
            });
            return match after.attempt > row.attempt {
                true => Ok(None),
                false => self.end_of(live, after).await,
            };
        }
        Err(Error::new(Code::Gone)
            .detail("The frames of this turn are no longer kept; the history has its text."))
    }

    /// The reply to a repeated request (same idempotency key).
    pub(super) async fn repeat(self: &Arc<Self>, device: &Owner, turn: TurnId) -> Result<Reply> {
        match self.attach(device, turn, ResumePoint::default()).await {
            Ok(Some(reply)) => Ok(reply),
            // The log is no longer kept, but the answer is.
            Err(Error {
                code: Code::Gone, ..
            })
            | Ok(None) => {
                let row = self.store.turn(device, turn).await?;
                let row = row.ok_or_else(|| Error::new(Code::NotFound))?;
                let kept = self.store.kept(turn).await?;
                let live = LiveAttempt {
                    turn,
                    conversation: row.conversation_id,
                    attempt: row.attempt,
                };
                let log = retell(&row, kept.answer.as_ref(), self.clock.now());
                Ok(live.reply(log.reader(0)))
            }
            Err(error) => Err(error),
        }
    }
}

/// An attempt at a turn.
#[derive(Debug, Clone, Copy)]
struct LiveAttempt {
    turn: TurnId,
    conversation: ConversationId,
    attempt: Attempt,
}

impl LiveAttempt {
    fn reply(self, reader: Reader) -> Reply {
        Reply {
            turn_id: Some(self.turn),
            conversation_id: Some(self.conversation),
            reader,
            elsewhere: None,
        }
    }
}

/// The logs of finished turns that are being read: all readers of a turn share one.
#[derive(Debug, Default)]
pub(super) struct FinishedLogs(Mutex<HashMap<TurnId, Weak<Log>>>);

impl FinishedLogs {
    fn share(&self, turn: TurnId, kept: &KeptLog) -> Arc<Log> {
        let known = |read: &HashMap<TurnId, Weak<Log>>| read.get(&turn).and_then(Weak::upgrade);
        if let Some(log) = known(&self.0.lock()) {
            return log;
        }
        // Read without the lock, which readers of other turns need.
        let log = Arc::new(Log::stored(turn, kept.attempt, &kept.records));
        let mut read = self.0.lock();
        if let Some(log) = known(&read) {
            return log;
        }
        read.retain(|_, log| log.strong_count() > 0);
        read.insert(turn, Arc::downgrade(&log));
        log
    }
}

/// A finished turn whose log is no longer kept: the stored answer as one record, then the final record.
fn retell(row: &TurnRow, answer: Option<&Message>, now: Timestamp) -> Arc<Log> {
    let now = answer.map_or(now, |answer| answer.created_at);
    let reason = row.finish_reason.unwrap_or(FinishReason::Interrupted);
    let error = row
        .error_code
        .as_deref()
        .and_then(Code::parse)
        .map(Error::new);
    let mut last = Frame::last(reason, error.as_ref(), now);
    let log = Log::new(Some((row.id, row.attempt)), false);
    match answer {
        Some(answer) => {
            last.message_id = Some(answer.id);
            log.append(Frame::text(&answer.body, now));
            log.close(last);
        }
        None => log.close_beyond(last),
    }
    Arc::new(log)
}
