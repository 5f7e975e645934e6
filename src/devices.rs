//! Device ids: they identify a conversation's owner without a login.
//!
//! A device id is a bearer secret. In open mode any well-formed id is accepted; in signed mode
//! only ids that this site issued, `{uuid}.{signature}`. Only the part before the dot is stored.

use std::sync::Arc;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    config::{DeviceIds, Secret},
    error::{Code, Error, Result},
    secret::SiteSecret,
    store::Owner,
};

/// A visitor's device.
#[derive(Debug, Clone)]
pub struct Device {
    /// The owner of its data.
    pub id: Owner,
    /// The id as the client has it, with the signature if there is one.
    pub presented: Secret,
}

/// Issues and checks device ids.
#[derive(Debug)]
pub struct Devices {
    mode: DeviceIds,
    secret: Arc<SiteSecret>,
}

impl Devices {
    /// The device ids of a site, signed with its secret.
    pub fn new(mode: DeviceIds, secret: Arc<SiteSecret>) -> Self {
        Self { mode, secret }
    }

    /// Issues an id for a new device.
    ///
    /// # Errors
    /// In signed mode, if the site's secret cannot be read.
    pub async fn issue(&self) -> Result<Device> {
        let id = Uuid::new_v4().to_string();
        let presented = match self.mode {
            DeviceIds::Open => id.clone(),
            DeviceIds::Signed => format!(
                "{id}.{}",
                HEXLOWER.encode(&self.mac(&id).await?.finalize().into_bytes())
            ),
        };
        let id = Owner::parse(&id).ok_or(Error::new(Code::Internal))?;
        Ok(Device {
            id,
            presented: Secret::new(presented),
        })
    }

    /// Checks an id that a client sent, and returns its device.
    ///
    /// # Errors
    /// `invalid_device_id` if it is malformed or not signed by this site.
    pub async fn accept(&self, presented: &str) -> Result<Device> {
        let invalid = || {
            Error::new(Code::InvalidDeviceId).detail("1 to 128 characters of A-Z a-z 0-9 . _ : -")
        };
        let whole = Owner::parse(presented).ok_or_else(invalid)?;
        let id = match self.mode {
            DeviceIds::Open => whole,
            DeviceIds::Signed => {
                let forged = || {
                    Error::new(Code::InvalidDeviceId).detail("Not an id that this server issued.")
                };
                let (id, signature) = presented.split_once('.').ok_or_else(forged)?;
                let signature = HEXLOWER_PERMISSIVE.decode(signature.as_bytes());
                let signature = signature.map_err(|_| forged())?;
                self.mac(id)
                    .await?
                    .verify_slice(&signature)
                    .map_err(|_| forged())?;
                Owner::parse(id).ok_or_else(forged)?
            }
        };
        Ok(Device {
            id,
            presented: Secret::new(presented),
        })
    }

    /// Reads the site's secret now: the keys for device ids and limits are derived from it.
    ///
    /// # Errors
    /// When the database fails. Then the secret is read when it is first needed.
    pub async fn warm_up(&self) -> Result<()> {
        self.mac("").await.map(drop)
    }

    async fn mac(&self, id: &str) -> Result<Hmac<Sha256>> {
        let mut mac = self.secret.mac("frontdesk device id").await?;
        mac.update(id.as_bytes());
        Ok(mac)
    }
}
