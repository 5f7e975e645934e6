//! Signed-in users: checks JSON Web Tokens (RFC 7519), signed with a shared secret or with an issuer's keys.
//!
//! A token's header may choose a key, and nothing else: the accepted algorithms are a setting, a key is only used
//! for algorithms of its kind, and an issuer's keys come only from the configured URL ([`jwks`]).

mod jwks;

use std::{fmt, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use hmac::Mac;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode,
    decode_header, encode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    clock::{Clock, Timestamp},
    config,
    error::{Code, Error, Result},
    http::{Clients, HttpError},
    secret::SiteSecret,
    store::Owner,
};
use jwks::Jwks;

/// Maximum length of a token; longer ones are rejected unread.
const TOKEN_BYTES: usize = 8 * 1024;
const SUB_CHARACTERS: usize = 255;

/// What a signed-in user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Their own conversations only.
    User,
    /// Conversations that wait for an expert, and those that they have claimed.
    Expert,
    /// All conversations.
    Admin,
}

impl Role {
    /// The role's name in tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Expert => "expert",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct User {
    /// The owner of their data.
    pub id: Owner,
    /// Their id at the issuer (`sub`).
    pub sub: String,
    /// What they may do.
    pub role: Role,
    /// When their token expires.
    pub until: Timestamp,
    /// All claims of the token.
    pub claims: Map<String, Value>,
}

impl User {
    /// Whether they are an expert or an admin.
    pub fn is_of_desk(&self) -> bool {
        self.role != Role::User
    }
}

/// Checks tokens, and makes them for development.
pub struct Auth {
    settings: config::AuthSettings,
    secret: Arc<SiteSecret>,
    jwks: Option<Jwks>,
    clock: Arc<dyn Clock>,
}

impl Auth {
    /// Fetches no keys yet.
    ///
    /// # Errors
    /// If the HTTP client for fetching keys cannot be built.
    pub fn new(
        settings: &config::AuthSettings,
        secret: Arc<SiteSecret>,
        clients: &Clients,
        clock: Arc<dyn Clock>,
    ) -> std::result::Result<Self, HttpError> {
        let jwks = match settings.jwks_url.is_empty() {
            true => None,
            false => Some(Jwks::new(&settings.jwks_url, clients)?),
        };
        Ok(Self {
            settings: settings.clone(),
            secret,
            jwks,
            clock,
        })
    }

    /// Checks a token and returns its user.
    ///
    /// # Errors
    /// `unauthorized` if the token is not valid, `forbidden` if its role does not exist, `unavailable` while the
    /// issuer's keys cannot be fetched.
    pub async fn user(&self, token: &str) -> Result<User> {
        if token.len() > TOKEN_BYTES {
            return Err(refused("The token is too long."));
        }
        let header = decode_header(token).map_err(|_| refused("The token cannot be read."))?;
        // RFC 7515 §4.1.11: a token with critical extensions that are not understood must be rejected.
        if header.crit.is_some() {
            return Err(refused("The token has an extension that is not known."));
        }
        if !self.settings.algorithms.contains(&header.alg) {
            return Err(refused("The token's algorithm is not allowed."));
        }
        let key = self.key(&header).await?;
        let mut validation = Validation::new(header.alg);
        // `read` checks the times, against this server's clock.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        validation.set_required_spec_claims(&["exp", "sub"]);
        let (audience, issuer) = (&self.settings.audience, &self.settings.issuer);
        validation.validate_aud = !audience.is_empty();
        for (name, expected) in [("aud", audience), ("iss", issuer)] {
            if !expected.is_empty() {
                validation.required_spec_claims.insert(name.to_owned());
            }
        }
        if !audience.is_empty() {
            validation.set_audience(&[audience]);
        }
        if !issuer.is_empty() {
            validation.set_issuer(&[issuer]);
        }
        let claims = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|_| refused("The token is not valid here."))?
            .claims;
        self.read(claims)
    }

    /// Checks the claims of a token whose signature is verified.
    fn read(&self, claims: Map<String, Value>) -> Result<User> {
        let now = self.clock.now();
        let leeway = Duration::from_secs(self.settings.leeway_seconds);
        let until = time(&claims, "exp").ok_or_else(|| refused("The token never expires."))?;
        if until.plus(leeway) <= now {
            return Err(refused("The token has expired."));
        }
        if claims.contains_key("nbf") {
            let from = time(&claims, "nbf").ok_or_else(|| refused("The token cannot be read."))?;
            if from > now.plus(leeway) {
                return Err(refused("The token is not valid yet."));
            }
        }
        let sub = claims.get("sub").and_then(Value::as_str);
        let fits = |sub: &&str| {
            let characters = sub.chars().count();
            (1..=SUB_CHARACTERS).contains(&characters) && !sub.chars().any(char::is_control)
        };
        let sub = sub
            .filter(fits)
            .ok_or_else(|| refused("The token does not say whose it is."))?
            .to_owned();
        let role = match claims.get("role") {
            None => Role::User,
            Some(role) => Role::deserialize(role).map_err(|_| {
                Error::new(Code::Forbidden).detail("The role must be user, expert or admin.")
            })?,
        };
        Ok(User {
            id: Owner::of_user(&sub),
            sub,
            role,
            until,
            claims,
        })
    }

    async fn key(&self, header: &Header) -> Result<DecodingKey> {
        match (header.alg.family(), &self.jwks) {
            (AlgorithmFamily::Hmac, _) => match self.shared_secret().await? {
                Some(secret) => Ok(DecodingKey::from_secret(secret.as_bytes())),
                None => Err(refused("The token's algorithm is not allowed.")),
            },
            (_, Some(jwks)) => jwks.key(header, self.clock.now()).await,
            (_, None) => Err(refused("The token's algorithm is not allowed.")),
        }
    }

    /// The secret that tokens are signed with: the configured one, or a derived one if there is no issuer. `None` if
    /// only an issuer's keys count.
    async fn shared_secret(&self) -> Result<Option<String>> {
        let configured = self.settings.jwt_secret.reveal();
        if !configured.is_empty() {
            return Ok(Some(configured.to_owned()));
        }
        if self.jwks.is_some() {
            return Ok(None);
        }
        let mac = self.secret.mac("frontdesk jwt").await?;
        Ok(Some(HEXLOWER.encode(&mac.finalize().into_bytes())))
    }

    /// Time until a token with this expiry is refused, leeway included.
    pub fn left(&self, until: Timestamp) -> Duration {
        let leeway = Duration::from_secs(self.settings.leeway_seconds);
        let micros = until.plus(leeway).0.saturating_sub(self.clock.now().0);
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// Makes a token, for development and for programs that have the shared secret.
    ///
    /// # Errors
    /// `forbidden` if there is no shared secret.
    pub async fn token(&self, sub: &str, role: Role, life: Duration) -> Result<String> {
        let no_secret = || {
            Error::new(Code::Forbidden)
                .detail("Tokens come from the issuer of auth.jwks_url; set FRONTDESK_JWT_SECRET to make some here as well.")
        };
        let secret = self.shared_secret().await?.ok_or_else(no_secret)?;
        let seconds = |time: Timestamp| time.0.div_euclid(1_000_000);
        let now = self.clock.now();
        let mut claims = json!({
            "sub": sub,
            "role": role.as_str(),
            "iat": seconds(now),
            "exp": seconds(now.plus(life)),
        });
        for (name, value) in [
            ("aud", &self.settings.audience),
            ("iss", &self.settings.issuer),
        ] {
            if let Some(claims) = claims.as_object_mut().filter(|_| !value.is_empty()) {
                claims.insert(name.to_owned(), json!(value));
            }
        }
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(Algorithm::HS256), &claims, &key)
            .map_err(|error| Error::new(Code::Internal).caused_by(error))
    }
}

/// Reads a claim that is a time: seconds since 1970, possibly with a fraction (RFC 7519 §2, NumericDate).
#[expect(clippy::cast_possible_truncation, reason = "it saturates")]
fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let seconds = claims.get(name)?.as_f64()?;
    Some(Timestamp((seconds * 1e6) as i64))
}

/// The error for a token that is not accepted.
fn refused(why: &str) -> Error {
    Error::new(Code::Unauthorized).detail(why)
}
