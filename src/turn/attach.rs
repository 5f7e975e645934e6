//! Coming back to a turn: from its log where it runs, from what is kept where it has ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    Engine, Reply, Running,
    event::{Cursor, Frame},
    log::{Log, Reader},
};
use crate::{
    clock::Timestamp,
    error::{Code, Error, Result},
    store::{
        DeviceId, TurnId,
        messages::{FinishReason, Message},
        turns::TurnRow,
    },
};

/// Between a turn's commit and its being known here there is a moment.
const TAKEOVER_TRIES: usize = 8;
const TAKEOVER_PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// The rest of a turn after a cursor. `None`: the reader has it all.
    ///
    /// # Errors
    /// `not_found` for a turn that is not this device's, `gone` for one whose frames are no
    /// longer kept.
    pub async fn attach(
        self: &Arc<Self>,
        device: &DeviceId,
        turn: TurnId,
        after: Option<Cursor>,
    ) -> Result<Option<Reply>> {
        self.nudge_upkeep();
        if let Some(running) = self.running_here(device, turn) {
            return Ok(Some(follow(turn, &running, after)));
        }
        match self.store.turn(device, turn).await? {
            Some(row) => self.read(device, row, after).await,
            None => Err(Error::new(Code::NotFound)),
        }
    }

    /// The rest of the turn after a cursor, or the newest turn if there is a newer one; without
    /// a cursor the running turn. `None`: there is nothing to read.
    ///
    /// # Errors
    /// As [`Engine::attach`].
    pub async fn attach_newest(
        self: &Arc<Self>,
        device: &DeviceId,
        after: Option<Cursor>,
    ) -> Result<Option<Reply>> {
        let Some(row) = self.store.newest_turn(device).await? else {
            return match after {
                Some(after) => self.attach(device, after.turn_id, Some(after)).await,
                None => Ok(None),
            };
        };
        match after {
            None if row.finish_reason.is_some() => Ok(None),
            after => {
                let after = after.filter(|after| after.turn_id == row.id);
                self.read(device, row, after).await
            }
        }
    }

    async fn read(
        &self,
        device: &DeviceId,
        mut row: TurnRow,
        after: Option<Cursor>,
    ) -> Result<Option<Reply>> {
        for _ in 0..TAKEOVER_TRIES {
            if row.finish_reason.is_some() {
                return self.read_finished(row, after).await;
            }
            if let Some(running) = self.running_here(device, row.id) {
                return Ok(Some(follow(row.id, &running, after)));
            }
            // It began or ended a moment ago, or another instance runs it.
            sleep(TAKEOVER_PAUSE).await;
            row = self
                .store
                .turn(device, row.id)
                .await?
                .ok_or_else(|| Error::new(Code::NotFound))?;
        }
        Err(Error::new(Code::Unavailable).detail("Another instance is answering this message."))
    }

    async fn read_finished(&self, row: TurnRow, after: Option<Cursor>) -> Result<Option<Reply>> {
        let kept = self.store.kept(row.id).await?;
        let at = |attempt, seq| Cursor {
            turn_id: row.id,
            attempt,
            seq,
        };
        if let Some(log) = kept.log {
            if after.is_some_and(|after| after >= at(log.attempt, log.last_seq)) {
                return Ok(None);
            }
            let seen = after
                .filter(|after| after.attempt == log.attempt)
                .map_or(0, |after| after.seq);
            let log = self.finished.share(row.id, log.frames);
            return Ok(Some(reply_of(
                &row,
                log.reader(usize::try_from(seen).unwrap_or_default()),
            )));
        }
        if row.finish_reason == Some(FinishReason::Interrupted) && kept.answer.is_none() {
            // Its server died: all there is to say is that.
            if after.is_some_and(|after| after >= at(row.attempt + 1, 0)) {
                return Ok(None);
            }
            return Ok(Some(reply_of(
                &row,
                retell(&row, None, self.clock.now()).reader(0),
            )));
        }
        Err(Error::new(Code::Gone)
            .detail("The frames of this turn are no longer kept; the history has its text."))
    }

    /// The answer to a request that was here before.
    pub(super) async fn repeat(&self, device: &DeviceId, row: TurnRow) -> Result<Reply> {
        match self.read(device, row.clone(), None).await {
            Ok(Some(reply)) => Ok(reply),
            // The log is no longer kept, but the answer is.
            Err(Error {
                code: Code::Gone, ..
            })
            | Ok(None) => {
                let kept = self.store.kept(row.id).await?;
                Ok(reply_of(
                    &row,
                    retell(&row, kept.answer.as_ref(), self.clock.now()).reader(0),
                ))
            }
            Err(error) => Err(error),
        }
    }
}

/// The logs of finished turns that are being read: all readers of a turn share one.
#[derive(Debug, Default)]
pub(super) struct Finished(Mutex<HashMap<TurnId, Weak<Log>>>);

impl Finished {
    fn share(&self, turn: TurnId, frames: Vec<u8>) -> Arc<Log> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = read.get(&turn).and_then(Weak::upgrade) {
            return log;
        }
        let log = Arc::new(Log::complete(frames));
        read.retain(|_, log| log.strong_count() > 0);
        read.insert(turn, Arc::downgrade(&log));
        log
    }
}

/// A reader of a turn that runs here. A cursor of a later attempt waits, as one that is ahead
/// does.
fn follow(turn: TurnId, running: &Running, after: Option<Cursor>) -> Reply {
    let seen = match after {
        None => 0,
        Some(after) if after.attempt > 1 => usize::MAX,
        Some(after) => usize::try_from(after.seq).unwrap_or(usize::MAX),
    };
    Reply {
        turn_id: Some(turn),
        conversation_id: Some(running.conversation_id),
        reader: running.log.reader(seen),
    }
}

fn reply_of(row: &TurnRow, reader: Reader) -> Reply {
    Reply {
        turn_id: Some(row.id),
        conversation_id: Some(row.conversation_id),
        reader,
    }
}

/// A finished turn's frames, where its log is not kept: the answer in one piece, and the end.
fn retell(row: &TurnRow, answer: Option<&Message>, now: Timestamp) -> Arc<Log> {
    let now = answer.map_or(now, |answer| answer.created_at);
    let reason = row.finish_reason.unwrap_or(FinishReason::Interrupted);
    let error = row
        .error_code
        .as_deref()
        .and_then(Code::parse)
        .map(Error::new);
    let mut last = Frame::last(reason, error.as_ref(), now);
    let mut bytes = Vec::new();
    match answer {
        Some(answer) => {
            let prefix = Cursor::prefix(row.id, row.attempt);
            last.message_id = Some(answer.id);
            Frame::text(&answer.body, now).write(Some((&prefix, 1)), &mut bytes);
            last.write(Some((&prefix, 2)), &mut bytes);
        }
        None => last.write(
            Some((&Cursor::prefix(row.id, row.attempt + 1), 0)),
            &mut bytes,
        ),
    }
    Arc::new(Log::complete(bytes))
}
