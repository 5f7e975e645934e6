//! The public keys of a token's issuer (RFC 7517), from the configured URL.
//!
//! They are cached for an hour, and fetched again when a token names an unknown key, because issuers change their
//! keys. They are fetched at most every 30 s, whatever tokens strangers send. If the issuer is away, the cached keys
//! stay valid.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    AlgorithmFamily, DecodingKey, Header,
    jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use parking_lot::{Mutex, MutexGuard};
use reqwest::Client;
use serde_json::json;
use tokio::{runtime::Handle, time::timeout};

use super::refused;
use crate::{
    clock::Timestamp,
    error::{Code, Error, Result},
    http::{Clients, HttpError, whole},
};

/// How long fetched keys are fresh.
const FRESH: Duration = Duration::from_secs(3600);
/// Minimum time between two fetches.
const REFRESH_DELAY: Duration = Duration::from_secs(30);
/// Timeout of a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of the issuer's response.
const MAX_KEY_SET_BYTES: usize = 512 * 1024;

/// An issuer's keys, fetched when needed.
pub(super) struct Jwks(Arc<Issuer>);

struct Issuer {
    url: String,
    client: Client,
    known: Mutex<FetchedKeys>,
    asking: tokio::sync::Mutex<()>,
    runtime: Handle,
}

#[derive(Default)]
struct FetchedKeys {
    keys: Vec<Jwk>,
    /// When the keys were last fetched.
    read: Option<Timestamp>,
    /// When a fetch was last attempted.
    asked: Option<Timestamp>,
}

impl FetchedKeys {
    /// The cached key for a token, if the keys are fresh or a fetch was attempted just now.
    fn key(&self, header: &Header, now: Timestamp) -> Option<Result<DecodingKey>> {
        let is_fresh = !is_old(self.read, FRESH, now) || !is_old(self.asked, REFRESH_DELAY, now);
        find(&self.keys, header).filter(|_| is_fresh).map(made)
    }
}

fn is_old(since: Option<Timestamp>, life: Duration, now: Timestamp) -> bool {
    since.is_none_or(|at| at.plus(life) <= now)
}

fn made(key: &Jwk) -> Result<DecodingKey> {
    DecodingKey::from_jwk(key).map_err(|_| refused("The token's key is of no use."))
}

impl Jwks {
    pub(super) fn new(url: &str, clients: &Clients) -> std::result::Result<Self, HttpError> {
        Ok(Self(Arc::new(Issuer {
            url: url.to_owned(),
            // Like a tool's client, it follows no redirects.
            client: clients.outside(None)?,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            runtime: Handle::current(),
        })))
    }

    /// The key that a token with this header was signed with.
    pub(super) async fn key(&self, header: &Header, now: Timestamp) -> Result<DecodingKey> {
        if let Some(key) = self.0.known().key(header, now) {
            return key;
        }
        // In a separate task: if this request is dropped, others that wait still get the keys.
        let issuer = Arc::clone(&self.0);
        let named = header.clone();
        let asked = self
            .0
            .runtime
            .spawn(async move { issuer.ask(&named, now).await });
        drop(asked.await);
        let known = self.0.known();
        if known.read.is_none() {
            return Err(Error::new(Code::Unavailable).detail("Tokens cannot be checked."));
        }
        let key = find(&known.keys, header);
        key.map_or_else(|| Err(refused("The token's key is not known.")), made)
    }
}

impl Issuer {
    /// Fetches the keys, unless another request has just done so.
    async fn ask(&self, header: &Header, now: Timestamp) {
        let _alone = self.asking.lock().await;
        if self.known().key(header, now).is_some()
            || !is_old(self.known().asked, REFRESH_DELAY, now)
        {
            return;
        }
        self.known().asked = Some(now);
        match timeout(FETCH_TIMEOUT, self.fetch()).await {
            Ok(Ok(keys)) => {
                let mut known = self.known();
                (known.keys, known.read) = (keys, Some(now));
            }
            Ok(Err(error)) => tracing::warn!(error.cause = error, "no keys from auth.jwks_url"),
            Err(_) => tracing::warn!("no keys from auth.jwks_url in time"),
        }
    }

    fn known(&self) -> MutexGuard<'_, FetchedKeys> {
        self.known.lock()
    }

    async fn fetch(&self) -> std::result::Result<Vec<Jwk>, String> {
        let answer = self.client.get(&self.url).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let words = |error: reqwest::Error| error.without_url().to_string();
        let read = whole(answer.map_err(words)?, MAX_KEY_SET_BYTES)
            .await
            .map_err(words)?;
        let bytes = read.ok_or_else(|| format!("more than {MAX_KEY_SET_BYTES} bytes"))?;
        let set: JwkSet = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        Ok(set.keys)
    }
}

/// The key that a header names, if it fits the header's algorithm. A header that names no key gets the only one that
/// fits.
fn find<'a>(keys: &'a [Jwk], header: &Header) -> Option<&'a Jwk> {
    let mut fit = keys.iter().filter(|key| fits(key, header));
    match &header.kid {
        Some(kid) => fit.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => fit.next().filter(|_| fit.next().is_none()),
    }
}

fn fits(key: &Jwk, header: &Header) -> bool {
    let family = match &key.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa,
        AlgorithmParameters::EllipticCurve(_) => AlgorithmFamily::Ec,
        AlgorithmParameters::OctetKeyPair(_) => AlgorithmFamily::Ed,
        // A symmetric key in a public document is not secret.
        _ => return false,
    };
    let is_for = |alg: &KeyAlgorithm| json!(alg) == json!(header.alg);
    family == header.alg.family()
        && key.common.key_algorithm.as_ref().is_none_or(is_for)
        && !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}
