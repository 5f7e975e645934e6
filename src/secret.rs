//! The site's secret, from which all keys are derived: configured, or generated once and kept in the database.

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::{
    config::Secret,
    store::{Store, StoreError},
};

/// The site's secret. It is read when it is first needed.
#[derive(Debug)]
pub struct SiteSecret {
    configured: Secret,
    store: Store,
    read: OnceCell<Secret>,
}

impl SiteSecret {
    /// The configured secret; if that is empty, the one in the database.
    pub fn new(configured: Secret, store: Store) -> Self {
        Self {
            configured,
            store,
            read: OnceCell::new(),
        }
    }

    /// A MAC for one purpose. The purpose is part of the message, so that other purposes never give the
    /// same value.
    ///
    /// # Errors
    /// If the secret cannot be read.
    pub async fn mac(&self, purpose: &str) -> Result<Hmac<Sha256>, StoreError> {
        let secret = self.read.get_or_try_init(|| self.read()).await?;
        let mut mac = Hmac::new_from_slice(secret.reveal().as_bytes())
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        Ok(mac)
    }

    async fn read(&self) -> Result<Secret, StoreError> {
        if !self.configured.is_empty() {
            return Ok(self.configured.clone());
        }
        let new = HEXLOWER.encode(&rand::random::<[u8; 32]>());
        self.store
            .shared_setting("secret", new)
            .await
            .map(Secret::new)
    }
}
