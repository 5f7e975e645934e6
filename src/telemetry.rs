//! Log lines: pretty on a terminal, JSON elsewhere. Fields are dotted and constant; no line has
//! a message's text, a device id, a token or a key.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Whether lines are for people.
pub fn is_pretty(log: &LogSettings) -> bool {
    match log.format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    }
}

/// Begins to log, to standard error. A filter that cannot be read is replaced by `info`.
pub fn start(log: &LogSettings) {
    let filter = if log.debug {
        format!("{},frontdesk=debug", log.filter)
    } else {
        log.filter.clone()
    };
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Already begun: a second server in one process, in a test.
    let _ = if is_pretty(log) {
        lines
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    };
}
