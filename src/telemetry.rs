//! Log lines: pretty on a terminal, JSON elsewhere. Field names are dotted and constant. No line may
//! contain a message's text, a device id, a token or a key.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Whether log lines are formatted for people.
pub fn is_pretty(log: &LogSettings) -> bool {
    match log.format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    }
}

/// Starts logging to standard error. An invalid filter is replaced by `info`.
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
    // Fails if logging has started already: in tests with a second server in the process.
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
