//! Adoption: the first instance that finds a turn whose instance died runs it again from its beginning, as a
//! new attempt.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Engine, Origin};
use crate::{
    error::Result,
    store::{
        TurnId,
        adopt::{Adopt, Adoption},
    },
};

/// Maximum number of turns that one sweep adopts.
const MAX_ADOPTED: u32 = 50;

impl Engine {
    /// Adopts a turn whose instance is dead. True if it was adopted, or closed after too many attempts.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn adopt(self: &Arc<Self>, turn: TurnId) -> Result<bool> {
        let settings = &self.settings.turn;
        let lease = Duration::from_secs(settings.lease_seconds);
        // After a database outage every lease may have expired: give the instances that are alive time to renew
        // first.
        if self.draining.is_cancelled() || self.leases.failed_within(lease) {
            return Ok(false);
        }
        let since = Instant::now();
        let adoption = self.store.adopt_turn(Adopt {
            turn_id: turn,
            instance: self.instance,
            lease,
            attempts: i32::try_from(settings.attempts).unwrap_or(i32::MAX),
            history: settings.history_messages,
        });
        match adoption.await? {
            Adoption::Adopted(started) => {
                tracing::info!(turn.id = %turn, turn.attempt = started.attempt.0, "adopted a turn");
                drop(self.launch(*started, since, Origin::default()));
                Ok(true)
            }
            Adoption::Closed => {
                tracing::warn!(turn.id = %turn, "a turn was given up: too many attempts");
                Ok(true)
            }
            Adoption::NotAbandoned => Ok(false),
        }
    }

    /// Adopts turns whose instance died, without waiting for a reader to ask for them.
    pub(super) async fn adopt_some(self: &Arc<Self>) {
        let abandoned = match self.store.abandoned_turns(MAX_ADOPTED).await {
            Ok(abandoned) => abandoned,
            Err(error) => {
                self.leases.fail();
                tracing::warn!(error.cause = %error, "looking for abandoned turns failed");
                return;
            }
        };
        for turn in abandoned {
            if let Err(error) = self.adopt(turn).await {
                error.log();
            }
        }
    }
}
