//! Device ids: whose conversation it is, without a login.
//!
//! A device id is a bearer secret. In open mode any well-formed one is taken; in signed mode
//! only those that this site issued, `{uuid}.{signature}`, of which only the part before the
//! point is ever stored.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    config::{DeviceIds, Secret},
    error::{Code, Error, Result},
    store::{DeviceId, Store},
};

/// A visitor's device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Under which everything is kept.
    pub id: DeviceId,
    /// The id as the client has it, with its signature where there is one.
    pub presented: Secret,
}

/// Issues and checks device ids.
#[derive(Debug)]
pub struct Devices {
    mode: DeviceIds,
    configured: Secret,
    store: Store,
    secret: OnceCell<Secret>,
}

impl Devices {
    /// The device ids of a site. `configured` is its secret; an empty one is made once and kept
    /// in the database.
    pub fn new(mode: DeviceIds, configured: Secret, store: Store) -> Self {
        Self {
            mode,
            configured,
            store,
            secret: OnceCell::new(),
        }
    }

    /// A new device.
    ///
    /// # Errors
    /// In signed mode, when the site's secret cannot be read.
    pub async fn issue(&self) -> Result<Device> {
        let id = Uuid::new_v4().to_string();
        let presented = match self.mode {
            DeviceIds::Open => id.clone(),
            DeviceIds::Signed => format!(
                "{id}.{}",
                hex(&self.mac(&id).await?.finalize().into_bytes())
            ),
        };
        let id = DeviceId::parse(&id).ok_or(Error::new(Code::Internal))?;
        Ok(Device {
            id,
            presented: Secret::new(presented),
        })
    }

    /// The device of an id that a client sent.
    ///
    /// # Errors
    /// `invalid_device_id` for one that is malformed or not signed by this site.
    pub async fn accept(&self, presented: &str) -> Result<Device> {
        let invalid = || {
            Error::new(Code::InvalidDeviceId).detail("1 to 128 characters of A-Z a-z 0-9 . _ : -")
        };
        let whole = DeviceId::parse(presented).ok_or_else(invalid)?;
        let id = match self.mode {
            DeviceIds::Open => whole,
            DeviceIds::Signed => {
                let forged = || {
                    Error::new(Code::InvalidDeviceId).detail("Not an id that this server issued.")
                };
                let (id, signature) = presented.split_once('.').ok_or_else(forged)?;
                let signature = unhex(signature).ok_or_else(forged)?;
                self.mac(id)
                    .await?
                    .verify_slice(&signature)
                    .map_err(|_| forged())?;
                DeviceId::parse(id).ok_or_else(forged)?
            }
        };
        Ok(Device {
            id,
            presented: Secret::new(presented),
        })
    }

    async fn mac(&self, id: &str) -> Result<Hmac<Sha256>> {
        let secret = self.secret.get_or_try_init(|| self.read_secret()).await?;
        let mut mac = Hmac::new_from_slice(secret.reveal().as_bytes())
            .map_err(|error| Error::new(Code::Internal).caused_by(error))?;
        // What the key is used for is part of the message: no other use can give this value.
        mac.update(b"frontdesk device id\0");
        mac.update(id.as_bytes());
        Ok(mac)
    }

    async fn read_secret(&self) -> Result<Secret> {
        if !self.configured.is_empty() {
            return Ok(self.configured.clone());
        }
        let new = hex(&rand::random::<[u8; 32]>());
        Ok(Secret::new(self.store.shared_setting("secret", new).await?))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
