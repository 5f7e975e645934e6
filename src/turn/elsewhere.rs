//! Readers of a turn that runs on another instance: if that instance dies, they continue with the next attempt,
//! on the same connection.

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

/// How often the turn is looked up, and the pause between two look-ups: the lease of a dead instance has to
/// expire first.
const FOLLOW_TRIES: usize = 40;
const FOLLOW_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A turn on another instance that a reader follows from here.
#[derive(Debug, Clone)]
pub struct RemoteTurn {
    pub(super) device: Owner,
    pub(super) turn: TurnId,
    pub(super) attempt: Attempt,
    pub(super) place: ResumePoint,
}

impl RemoteTurn {
    /// The position of a reader that has reached the end of its mirror. One that has read nothing may start
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
    /// A turn's whole answer. If the instance that ran it died, the next attempt is read from its beginning.
    /// `None` if this server cannot follow the turn: the client must reconnect.
    pub async fn whole(self: &Arc<Self>, mut reply: Reply) -> Option<WholeAnswer> {
        loop {
            let unread = reply.reader.clone();
            if let Some(answer) = collect(reply.reader).await {
                return Some(answer);
            }
            reply = self.go_on(&reply.elsewhere?, &unread).await?;
        }
    }

    /// Continues a reader whose mirror ended without the final frame: with the same attempt, with the next one
    /// from its `reset`, or with the end. `None` if this server cannot follow the turn: the client must
    /// reconnect.
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
