//! Ending turns on request: one by one, or all that stand in the way of a deletion.

use std::time::Duration;

use tokio::time::timeout;

use super::{Engine, Running, signal::Cause};
use crate::{
    error::{Code, Error, Result},
    store::{ConversationId, Owner, TurnId},
};

/// How long a stop waits for the turn's end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Engine {
    /// Stops a turn. What it has said so far is kept.
    ///
    /// # Errors
    /// `not_found` for a turn that is not this device's.
    pub async fn stop(&self, device: &Owner, turn: TurnId) -> Result<()> {
        if let Some(running) = self.running_here(device, turn) {
            running.signal.raise(Cause::Stopped);
            let mut reader = running.log.reader(0);
            let end = reader.end();
            drop(timeout(STOP_TIMEOUT, end).await);
            return Ok(());
        }
        match self.store.turn(device, turn).await? {
            None => Err(Error::new(Code::NotFound)),
            Some(row) if row.finish_reason.is_some() => Ok(()),
            Some(row) => Ok(self.store.request_stop(row.id).await?),
        }
    }

    /// Deletes a conversation of a user's with all that belongs to it, after its turn that runs here has
    /// been stopped; whether there was such a conversation. One that runs elsewhere loses its lease.
    ///
    /// # Errors
    /// When the database fails; then nothing is deleted.
    pub async fn delete(&self, user: &Owner, conversation: ConversationId) -> Result<bool> {
        let of_user =
            |running: &Running| running.device == *user && running.conversation_id == conversation;
        self.stop_those(user, of_user).await?;
        let key = self.sessions.limit_key(user).await?;
        let deleted = self.store.delete_conversation(user, key, conversation);
        Ok(deleted.await?)
    }

    /// Erases all that is kept of a device's visitor, after its turns that run here have been
    /// stopped. One that runs elsewhere loses its lease, and with it what it would write.
    ///
    /// # Errors
    /// When the database fails; then nothing is erased.
    pub async fn erase(&self, device: &Owner) -> Result<()> {
        self.stop_those(device, |running| running.device == *device)
            .await?;
        let key = self.sessions.limit_key(device).await?;
        let erased = self.store.erase(device, key).await?;
        tracing::info!(erased, "a visitor's data was erased");
        Ok(())
    }

    /// Stops those turns of a device's that run here.
    async fn stop_those(&self, device: &Owner, those: impl Fn(&Running) -> bool) -> Result<()> {
        let those: Vec<TurnId> = {
            let running = self.running();
            let those = running.iter().filter(|(_, running)| those(running));
            those.map(|(turn, _)| *turn).collect()
        };
        for turn in those {
            self.stop(device, turn).await?;
        }
        Ok(())
    }
}
