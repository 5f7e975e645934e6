//! The one place that builds a client for outgoing HTTP.

use reqwest::{Certificate, Client, ClientBuilder, redirect};

use crate::config::Timeouts;

/// A client for calls to models: no redirects (a key must not travel to another host), no
/// total timer of its own (streams are long; `llm` has the timers).
///
/// Where the machine has no CA certificates, those built into the binary serve; reqwest
/// refuses to build without any, even for `http://`.
///
/// # Errors
/// When neither the machine's certificates nor the built-in ones can be loaded.
pub fn client(timeouts: Timeouts) -> reqwest::Result<Client> {
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
/// As [`client`].
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
