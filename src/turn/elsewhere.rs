//! Readers of a turn that runs on another instance: when that instance dies, or the attempt ends, they go on with
//! what follows, on the same connection.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Engine, Reply, ResumePoint,
    collect::{WholeAnswer, collect},
    frame::Cursor,
    log::Reader,
};
use crate::{
    error::{Code, Error},
    store::{Attempt, FrameSeq, Owner, TurnId},
};

/// How often the turn is looked for, and how soon again: an owner that died has its lease for a while.
const FOLLOW_TRIES: usize = 40;
const FOLLOW_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Where a turn runs that a reader follows from here.
#[derive(Debug, Clone)]
pub struct RemoteTurn {
    pub(super) device: Owner,
    pub(super) turn: TurnId,
    pub(super) attempt: Attempt,
    pub(super) place: ResumePoint,
}

impl RemoteTurn {
    /// Where a reader stands that has come to the end of what was mirrored. One who has read nothing yet may begin
    /// with any attempt.
    fn place(&self, reader: &Reader) -> ResumePoint {
        if reader.seen() == 0 {
            return self.place;
        }
        let is_ahead = |after: &Cursor| after.attempt > self.attempt;
        let reached = Cursor {
            turn_id: self.turn,
            attempt: self.attempt,
            seq: FrameSeq::of(reader.seen()),
        };
        ResumePoint {
            after: self.place.after.filter(is_ahead).or(Some(reached)),
            ..self.place
        }
    }
}

impl Engine {
    /// A turn's answer in one piece. Where it ran on an instance that has died, the next attempt is read from its
    /// beginning. `None` where this server cannot tell: the client has to come back.
    pub async fn whole(self: &Arc<Self>, mut reply: Reply) -> Option<WholeAnswer> {
        loop {
            let unread = reply.reader.clone();
            if let Some(answer) = collect(reply.reader).await {
                return Some(answer);
            }
            reply = self.go_on(&reply.elsewhere?, &unread).await?;
        }
    }

    /// What follows for a reader whose mirror has ended without the final frame: the same attempt, the next one from
    /// its `reset`, or the end. `None` where this server cannot tell: the client has to come back.
    pub async fn go_on(self: &Arc<Self>, from: &RemoteTurn, reader: &Reader) -> Option<Reply> {
        let place = from.place(reader);
        for _ in 0..FOLLOW_TRIES {
            if self.draining.is_cancelled() {
                return None;
            }
            match self.attach(&from.device, from.turn, place).await {
                Ok(reply) => return reply,
                Err(Error {
                    code: Code::Unavailable,
                    ..
                }) => sleep(FOLLOW_RETRY_DELAY).await,
                Err(_) => return None,
            }
        }
        None
    }
}
