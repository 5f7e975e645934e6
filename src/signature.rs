//! Signatures of outgoing calls, as in Standard Webhooks: HMAC-SHA256 over id, time and body.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use reqwest::RequestBuilder;
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    clock::{Clock, SystemClock},
    config::Secret,
};

/// The prefix of a base64 secret.
const ENCODED: &str = "whsec_";

/// A key that calls are signed with.
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// The key that a secret stands for: base64 after `whsec_`, else the secret's bytes.
    pub fn new(secret: &Secret) -> Self {
        let secret = secret.reveal();
        let encoded = secret.strip_prefix(ENCODED);
        let decoded = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        Self(decoded.unwrap_or_else(|| secret.as_bytes().to_vec()))
    }

    /// Sets a call's body and signs it. A message that is sent again must have the same id.
    pub fn sign(&self, call: RequestBuilder, id: Uuid, body: String) -> RequestBuilder {
        let at = SystemClock.now().0 / 1_000_000;
        let tag = self.tag(&format!("{id}.{at}.{body}"));
        call.header("content-type", "application/json")
            .header("webhook-id", id.to_string())
            .header("webhook-timestamp", at)
            .header("webhook-signature", format!("v1,{tag}"))
            .body(body)
    }

    fn tag(&self, text: &str) -> String {
        // HMAC takes a key of any length.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        let tag = mac.map(|mac| mac.chain_update(text).finalize().into_bytes());
        tag.map(|tag| BASE64_STANDARD.encode(tag))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_standard_webhooks() {
        // The example in the specification's libraries.
        let key = SigningKey::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let text = r#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(
            key.tag(text),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
