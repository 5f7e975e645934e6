//! The address and the scheme of a request: the connection's own, or what a trusted proxy reports in a header.
//!
//! Anybody may send a forwarding header, and proxies pass on those they do not write. So only the configured header
//! counts (`server.client_ip_header`), and only the part that trusted proxies wrote: it is read from its end.

use std::net::{IpAddr, SocketAddr};

use actix_web::{HttpRequest, http::header::HeaderMap};

use crate::app::App;

/// The address of the caller.
pub(super) fn caller(app: &App, request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let header = app.settings.server.client_ip_header.as_str();
    let hops = elements(request.headers(), header);
    let hops: Vec<Option<IpAddr>> = match header {
        FORWARDED => hops
            .iter()
            .map(|hop| address(member(hop, "for")?))
            .collect(),
        _ => hops.iter().map(|hop| address(hop)).collect(),
    };
    Some(app.limits.caller(peer, hops.into_iter()))
}

/// Whether the caller uses TLS; only a trusted proxy, which terminates it, can tell.
pub(super) fn is_https(app: &App, request: &HttpRequest) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip());
    if !peer.is_some_and(|peer| app.limits.trusts(peer)) {
        return false;
    }
    let headers = request.headers();
    match app.settings.server.client_ip_header.as_str() {
        FORWARDED => elements(headers, FORWARDED)
            .last()
            .and_then(|hop| member(hop, "proto"))
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        _ => elements(headers, "x-forwarded-proto")
            .last()
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
    }
}

/// RFC 7239 §4: `for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`.
const FORWARDED: &str = "forwarded";

/// The elements of a list header, from all its lines. A line that is not text becomes `?`, which parses as nothing.
fn elements<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let lines = headers.get_all(name);
    lines
        .flat_map(|line| line.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .collect()
}

/// A member of a `Forwarded` element.
fn member<'a>(hop: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = hop
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(given, _)| given.eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

/// An address as proxies write it, with or without quotes, brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.trim_matches(['[', ']'])
        .parse()
        .ok()
        .or_else(with_port)
}
