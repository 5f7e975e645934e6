//! The one place that builds a client for outgoing HTTP.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use reqwest::{Certificate, Client, ClientBuilder, redirect};
use tokio::runtime::{Handle, Id};

use crate::config::Timeouts;

/// Clients for calls to models, one for each runtime: a connection is driven where it was made,
/// and what it brings need not change threads to be sent on.
#[derive(Debug)]
pub struct Clients {
    timeouts: Timeouts,
    by_runtime: Mutex<HashMap<Id, Client>>,
}

impl Clients {
    /// Makes the one of this runtime, so that what is wrong is known at the start.
    ///
    /// # Errors
    /// When neither the machine's certificates nor the built-in ones can be loaded.
    pub fn new(timeouts: Timeouts) -> reqwest::Result<Self> {
        let clients = Self {
            timeouts,
            by_runtime: Mutex::default(),
        };
        clients.here()?;
        Ok(clients)
    }

    /// The client of this runtime.
    ///
    /// # Errors
    /// As [`Clients::new`], the first time in each runtime.
    pub fn here(&self) -> reqwest::Result<Client> {
        let id = Handle::current().id();
        let known = self.by_runtime.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(&id) {
            return Ok(client.clone());
        }
        let client = client(self.timeouts)?;
        known.insert(id, client.clone());
        Ok(client)
    }
}

/// A client for calls to models: no redirects (a key must not travel to another host), no
/// total timer of its own (streams are long; `llm` has the timers).
///
/// Where the machine has no CA certificates, those built into the binary serve; reqwest
/// refuses to build without any, even for `http://`.
fn client(timeouts: Timeouts) -> reqwest::Result<Client> {
    // Already installed: another client was built before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || builder(timeouts);
    match builder().build() {
        Err(error) if error.is_builder() => {
            tracing::info!("no CA certificates on this machine: using those built in");
            builder().tls_certs_only(built_in_roots()?).build()
        }
        result => result,
    }
}

/// A client for this machine alone, past every proxy.
///
/// # Errors
/// When the built-in certificates cannot be loaded.
pub fn local_client(timeouts: Timeouts) -> reqwest::Result<Client> {
    // Already installed: another client was built before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder(timeouts)
        .tls_certs_only(built_in_roots()?)
        .no_proxy()
        .build()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that builds clients"
)]
fn builder(timeouts: Timeouts) -> ClientBuilder {
    Client::builder()
        .connect_timeout(timeouts.connect)
        .redirect(redirect::Policy::none())
        .tcp_nodelay(true)
        .user_agent(concat!("frontdesk/", env!("CARGO_PKG_VERSION")))
}

fn built_in_roots() -> reqwest::Result<Vec<Certificate>> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect()
}
