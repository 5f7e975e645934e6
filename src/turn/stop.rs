//! Stops turns on request: one of them, or all that must end before a deletion.

use std::time::Duration;

use tokio::time::timeout;

use super::{Engine, Running, signal::Cause};
use crate::{
    error::{Code, Error, Result},
    store::{ConversationId, Owner, TurnId},
};

/// How long a stop waits until the turn has ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Engine {
    /// Stops a turn. Its text so far is kept.
    ///
    /// # Errors
    /// `not_found` for a turn that does not belong to this owner.
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

    /// Deletes a user's conversation with all its data, after stopping its turn if that runs here. A turn on
    /// another instance loses its lease. False if there is no such conversation.
    ///
    /// # Errors
    /// If the database fails; then nothing is deleted.
    pub async fn delete(&self, user: &Owner, conversation: ConversationId) -> Result<bool> {
        let of_user =
            |running: &Running| running.device == *user && running.conversation_id == conversation;
        self.stop_those(user, of_user).await?;
        let key = self.sessions.limit_key(user).await?;
        let deleted = self.store.delete_conversation(user, key, conversation);
        Ok(deleted.await?)
    }

    /// Erases all data of a device's visitor, after stopping the turns that run here. Turns on other instances
    /// lose their leases and can write nothing more.
    ///
    /// # Errors
    /// If the database fails; then nothing is erased.
    pub async fn erase(&self, device: &Owner) -> Result<()> {
        self.stop_those(device, |running| running.device == *device)
            .await?;
        let key = self.sessions.limit_key(device).await?;
        let erased = self.store.erase(device, key).await?;
        tracing::info!(erased, "a visitor's data was erased");
        Ok(())
    }

    /// Stops the matching turns that run here.
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
