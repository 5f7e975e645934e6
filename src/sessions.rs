//! Session locks: which agent holds a visitor's conversation, and for how long.
//!
//! A lock is keyed by the device, lives in the database on the database's clock, and is
//! refreshed by every message. When it has expired, the next message starts a new
//! conversation, through the router. The statements are in [`crate::store::sessions`].

use std::{sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use hmac::Mac;

use crate::{
    agents::Agents,
    config,
    secret::SiteSecret,
    store::{
        ConversationId, LimitKey, Owner, Store, StoreError,
        sessions::{LockRequest, Mode, SessionLock, Within},
    },
};

/// How many bytes of a keyed hash make a key.
const LIMIT_KEY_BYTES: usize = 16;
/// How many locks one statement cleans up.
const MAX_CLEANED_UP: u32 = 500;

/// The session locks of a desk.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    secret: Arc<SiteSecret>,
    agents: Arc<Agents>,
    ttl: Duration,
    device_limit: Option<u32>,
    user_limit: Option<u32>,
}

impl Sessions {
    /// The locks of a store.
    pub fn new(
        store: Store,
        secret: Arc<SiteSecret>,
        agents: Arc<Agents>,
        settings: &config::Settings,
    ) -> Self {
        let limits = &settings.limits;
        Self {
            store,
            secret,
            agents,
            ttl: Duration::from_secs(settings.session.ttl_seconds),
            device_limit: limits.enabled.then_some(limits.device_messages_per_minute),
            user_limit: limits.enabled.then_some(limits.user_messages_per_minute),
        }
    }

    /// A device's live lock, and who answers in its conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, device: &Owner) -> Result<Option<(SessionLock, Mode)>, StoreError> {
        self.store.session(device).await
    }

    /// Under which it is counted what a device writes and spends.
    ///
    /// # Errors
    /// When the site's secret cannot be read.
    pub async fn limit_key(&self, device: &Owner) -> Result<LimitKey, StoreError> {
        let mut mac = self.secret.mac("frontdesk limits").await?;
        mac.update(device.as_str().as_bytes());
        let hash = mac.finalize().into_bytes();
        let half = hash.get(..LIMIT_KEY_BYTES).unwrap_or_default();
        Ok(LimitKey(HEXLOWER.encode(half)))
    }

    /// What sets a device's lock: it is taken with the statement that begins a turn, never by
    /// itself. `agent` moves the session there.
    pub fn set(
        &self,
        device: Owner,
        limit_key: LimitKey,
        within: Within,
        agent: Option<String>,
    ) -> LockRequest {
        let agent_ttl = agent
            .as_deref()
            .map(|agent| self.agents.session_ttl(agent).unwrap_or(self.ttl));
        LockRequest {
            limit: match device.is_user() {
                true => self.user_limit,
                false => self.device_limit,
            },
            messages: 1,
            device,
            limit_key,
            within,
            new_conversation: ConversationId::new(),
            agent,
            default_ttl: self.ttl,
            agent_ttl,
        }
    }

    /// Forgets a device's lock: the next message starts a new conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clear(&self, device: &Owner) -> Result<(), StoreError> {
        let cleared = self.store.clear_session(device).await?;
        tracing::debug!(session.cleared = cleared, "session cleared");
        Ok(())
    }

    /// Deletes expired locks, up to `batches` batches of them; how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clean_up(&self, batches: usize) -> Result<usize, StoreError> {
        let mut all = 0;
        for _ in 0..batches {
            let deleted = self.store.clean_up_sessions(MAX_CLEANED_UP).await?;
            all += deleted;
            if deleted < MAX_CLEANED_UP as usize {
                break;
            }
        }
        Ok(all)
    }

    /// The life of a lock whose agent has none of its own.
    pub fn default_ttl(&self) -> Duration {
        self.ttl
    }
}
