//! The environment variables of the settings.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Short names of environment variables, and the settings that they set.
const SHORT_NAMES: [(&str, &str); 26] = [
    ("HOST", "server.host"),
    ("PORT", "server.port"),
    ("FRONTDESK_ALLOWED_ORIGINS", "server.allowed_origins"),
    ("FRONTDESK_TRUSTED_PROXIES", "server.trusted_proxies"),
    ("FRONTDESK_CLIENT_IP_HEADER", "server.client_ip_header"),
    ("FRONTDESK_DEVICE_IDS", "server.device_ids"),
    ("FRONTDESK_SECRET", "server.secret"),
    ("FRONTDESK_WS_ECHO", "server.ws_echo"),
    ("FRONTDESK_JWT_SECRET", "auth.jwt_secret"),
    ("FRONTDESK_JWKS_URL", "auth.jwks_url"),
    ("FRONTDESK_SHUTDOWN_SECONDS", "server.shutdown_seconds"),
    ("DATABASE_URL", "database.url"),
    ("DATABASE_LISTEN_URL", "database.listen_url"),
    ("SESSION_TTL", "session.ttl_seconds"),
    ("FRONTDESK_LEASE_SECONDS", "turn.lease_seconds"),
    ("FRONTDESK_MODEL", "llm.model"),
    ("OPENAI_API_KEY", "llm.openai.api_key"),
    ("OPENAI_BASE_URL", "llm.openai.base_url"),
    ("ANTHROPIC_API_KEY", "llm.anthropic.api_key"),
    ("ANTHROPIC_BASE_URL", "llm.anthropic.base_url"),
    ("FRONTDESK_LOG", "log.format"),
    ("RUST_LOG", "log.filter"),
    ("DEBUG", "log.debug"),
    ("FRONTDESK_OFFLINE_DELAY", "offline.word_delay_milliseconds"),
    ("FRONTDESK_DEFAULT_AGENT", "routing.default_agent"),
    ("FRONTDESK_POOL_SIZE", "database.pool_size"),
];

/// Settings that can be read from a file: a variable with `_FILE` appended holds its path.
pub(super) const SECRETS: [&str; 8] = [
    "server.secret",
    "auth.jwt_secret",
    "notify.webhook_secret",
    "notify.smtp_url",
    "database.url",
    "database.listen_url",
    "llm.openai.api_key",
    "llm.anthropic.api_key",
];

/// Platforms that run many instances, where a database per instance would be a mistake; found by their variables.
const PLATFORMS: [(&str, &str); 4] = [
    ("K_SERVICE", "Cloud Run"),
    ("AWS_LAMBDA_FUNCTION_NAME", "Lambda"),
    ("FLY_APP_NAME", "Fly"),
    ("KUBERNETES_SERVICE_HOST", "Kubernetes"),
];

/// The short environment variables and the settings that they set, for `--help`.
pub fn environment_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    SHORT_NAMES.into_iter()
}

/// The path of the setting that a variable would set. `None` if the variable is not one of frontdesk's.
pub(super) fn path_of(variable: &str) -> Option<String> {
    let short = SHORT_NAMES.iter().find(|(name, _)| *name == variable);
    short.map(|(_, path)| (*path).to_owned()).or_else(|| {
        let long = variable.strip_prefix("FRONTDESK_")?;
        Some(long.to_lowercase().replace("__", "."))
    })
}

/// Adds the long environment variables of all settings in a table to `names`.
pub(super) fn long_names(table: &Table, prefix: &str, names: &mut Vec<String>) {
    let gap = if prefix == "FRONTDESK" { "_" } else { "__" };
    for (key, value) in table {
        let name = format!("{prefix}{gap}{}", key.to_uppercase());
        match value {
            Value::Table(table) => long_names(table, &name, names),
            _ => names.push(name),
        }
    }
}

/// Whether Kubernetes set this variable. It does so in every pod if a service is called frontdesk.
pub(super) fn injected_by_kubernetes(name: &str, value: &str) -> bool {
    name.strip_prefix("FRONTDESK_").is_some_and(|rest| {
        rest.starts_with("SERVICE_")
            || rest.starts_with("PORT_")
            || (rest == "PORT" && value.contains("://"))
    })
}

/// The platform that this environment belongs to, if it is one of [`PLATFORMS`].
pub(super) fn platform(env: &BTreeMap<String, String>) -> Option<&'static str> {
    let here = PLATFORMS
        .iter()
        .find(|(variable, _)| env.contains_key(*variable));
    here.map(|(_, platform)| *platform)
}
