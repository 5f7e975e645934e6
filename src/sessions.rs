//! Session locks: which agent answers a visitor, in which conversation, and for how long.
//!
//! Each owner has at most one lock. It is in the database, expires by the database's clock, and is
//! renewed by every message. After it has expired, the next message starts a new conversation,
//! and the router chooses the agent. The statements are in [`crate::store::sessions`].

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

/// Bytes of the keyed hash that form a limit key.
const LIMIT_KEY_BYTES: usize = 16;
/// Maximum locks that one statement deletes.
const MAX_CLEANED_UP: u32 = 500;

/// The session locks of a server.
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

    /// An owner's live lock, and who answers in its conversation: agents or an expert.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, device: &Owner) -> Result<Option<(SessionLock, Mode)>, StoreError> {
        self.store.session(device).await
    }

    /// The key under which an owner's messages and tokens are counted.
    ///
    /// # Errors
    /// If the site's secret cannot be read.
    pub async fn limit_key(&self, device: &Owner) -> Result<LimitKey, StoreError> {
        let mut mac = self.secret.mac("frontdesk limits").await?;
        mac.update(device.as_str().as_bytes());
        let hash = mac.finalize().into_bytes();
        let half = hash.get(..LIMIT_KEY_BYTES).unwrap_or_default();
        Ok(LimitKey(HEXLOWER.encode(half)))
    }

    /// The request to set an owner's lock. It is part of the statement that begins a turn or opens a
    /// conversation. `agent` moves the session to that agent.
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

    /// Ends an owner's lock: the next message starts a new conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clear(&self, device: &Owner) -> Result<(), StoreError> {
        let cleared = self.store.clear_session(device).await?;
        tracing::debug!(session.cleared = cleared, "session cleared");
        Ok(())
    }

    /// Deletes expired locks, at most `batches` batches of them, and returns how many.
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

    /// How long a lock lasts if its agent does not set that.
    pub fn default_ttl(&self) -> Duration {
        self.ttl
    }
}
