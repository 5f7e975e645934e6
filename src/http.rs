//! The only module that builds clients for outgoing HTTP.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use reqwest::{Client, ClientBuilder, Response, dns::Resolve, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
};
use rustls_platform_verifier::Verifier;
use tokio::runtime::{Handle, Id};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::config::TimeoutSettings;

/// Why a client cannot be built, or a call failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Neither the machine's certificates nor the built-in ones can be loaded.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] reqwest::Error),
}

/// Clients for outgoing calls. For calls to models there is one per runtime: a connection is driven
/// by the runtime that opened it, so its data can be sent on without changing threads.
#[derive(Debug)]
pub struct Clients {
    timeouts: TimeoutSettings,
    tls: ClientConfig,
    by_runtime: Mutex<HashMap<Id, Client>>,
}

impl Clients {
    /// Reads the machine's certificates, once. This takes so long that a client doing it would hold
    /// up all other streams of its runtime.
    ///
    /// # Errors
    /// When neither the machine's certificates nor the built-in ones can be loaded.
    pub fn new(timeouts: TimeoutSettings) -> Result<Self, HttpError> {
        let verifier: Arc<dyn ServerCertVerifier> = match Verifier::new(Arc::new(
            ring::default_provider(),
        )) {
            Ok(verifier) => Arc::new(verifier),
            Err(error) => {
                tracing::info!(%error, "no CA certificates on this machine: using those built in");
                built_in()?
            }
        };
        Ok(Self {
            timeouts,
            tls: tls(verifier)?,
            by_runtime: Mutex::default(),
        })
    }

    /// The client of this runtime. It follows no redirects (a key must not reach another host) and has
    /// no total timeout (streams are long; `llm` has the timeouts).
    ///
    /// # Errors
    /// If it cannot be built, on first use in a runtime.
    pub fn here(&self) -> reqwest::Result<Client> {
        let id = Handle::current().id();
        let mut known = self.by_runtime.lock();
        if let Some(client) = known.get(&id) {
            return Ok(client.clone());
        }
        let client = builder(self.timeouts, self.tls.clone()).build()?;
        known.insert(id, client.clone());
        Ok(client)
    }

    /// A client for calls to tools, services and token issuers. With a resolver, only that one resolves addresses, so
    /// no proxy is used.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn outside(&self, resolver: Option<Arc<dyn Resolve>>) -> Result<Client, HttpError> {
        let builder = builder(self.timeouts, self.tls.clone());
        let builder = match resolver {
            Some(resolver) => builder.no_proxy().dns_resolver(resolver),
            None => builder,
        };
        Ok(builder.build()?)
    }
}

/// A response's body; `None` if it is longer than `most` bytes.
///
/// # Errors
/// If it breaks off.
pub async fn whole(mut response: Response, most: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// A client for calls to this machine only. It uses no proxy and reads no certificates from files.
///
/// # Errors
/// When the built-in certificates cannot be loaded.
pub fn local_client(timeouts: TimeoutSettings) -> Result<Client, HttpError> {
    let client = builder(timeouts, tls(built_in()?)?);
    Ok(client.no_proxy().build()?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that builds clients"
)]
fn builder(timeouts: TimeoutSettings, tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(timeouts.connect)
        .redirect(redirect::Policy::none())
        .tcp_nodelay(true)
        .user_agent(concat!("frontdesk/", env!("CARGO_PKG_VERSION")))
}

fn tls(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, rustls::Error> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Trusts the certificates built into the binary.
fn built_in() -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
    let provider = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}
