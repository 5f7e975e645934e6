//! Checks of the settings that their types cannot express.

mod agents;

use std::time::Duration;

use super::{
    LimitSettings, Settings, SettingsProblem, TimeoutSettings, judges, llm, mcp, people,
    rules::{check_range, check_secret},
    tools, widgets,
};

const DAY_SECONDS: u64 = 86_400;
const TEN_YEARS_SECONDS: u64 = 10 * 365 * DAY_SECONDS;

/// Adds all problems of the settings to `problems`.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    check_numbers(settings, problems);
    check_limits(&settings.limits, problems);
    check_timeouts(settings.llm.timeouts(), problems);
    let header = &settings.server.client_ip_header;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if header.is_empty() || !header.chars().all(fits) {
        let mend = "must be the name of one header in small letters: x-forwarded-for";
        problems.push(SettingsProblem::new("server.client_ip_header", mend));
    }
    check_secret("FRONTDESK_SECRET", &settings.server.secret, problems);
    people::check(settings, problems);
    judges::check(settings, problems);
    if tracing_subscriber::EnvFilter::try_new(&settings.log.filter).is_err() {
        let mend = "must be a level, or target=level pairs: info,frontdesk=debug";
        problems.push(SettingsProblem::new("RUST_LOG", mend));
    }
    llm::check(&settings.llm, problems);
    addresses(settings, problems);
    let default_agent = &settings.routing.default_agent;
    if !settings.agents.contains_key(default_agent) {
        let known: Vec<&str> = settings.agents.keys().map(String::as_str).collect();
        let mend = format!("must be one of the agents: {}", known.join(", "));
        problems.push(SettingsProblem::new("routing.default_agent", mend));
    }
    agents::check(settings, problems);
    for (name, tool) in &settings.tools {
        tools::check(name, tool, problems);
    }
    for (name, server) in &settings.mcp {
        mcp::check(name, server, problems);
    }
    widgets::check(settings, problems);
}

/// Checks the ranges of numbers.
fn check_numbers(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    let Settings {
        server,
        database,
        session,
        turn,
        ..
    } = settings;
    let mut check = |at: &str, value: u64, least: u64, most: u64| {
        check_range(at, (value, least..=most), problems);
    };
    check(
        "session.ttl_seconds",
        session.ttl_seconds,
        1,
        TEN_YEARS_SECONDS,
    );
    check("turn.lease_seconds", turn.lease_seconds, 3, 3600);
    check("turn.attempts", turn.attempts.into(), 1, 100);
    check("turn.tool_rounds", turn.tool_rounds.into(), 1, 50);
    check("turn.most_seconds", turn.most_seconds, 1, DAY_SECONDS);
    check("turn.wait_seconds", turn.wait_seconds, 0, 300);
    check(
        "turn.log_kept_seconds",
        turn.log_kept_seconds,
        0,
        365 * DAY_SECONDS,
    );
    check(
        "turn.history_messages",
        turn.history_messages.into(),
        1,
        10_000,
    );
    check("database.pool_size", database.pool_size.into(), 1, 1_000);
    check(
        "server.lame_duck_milliseconds",
        server.lame_duck_milliseconds,
        0,
        60_000,
    );
    check("server.shutdown_seconds", server.shutdown_seconds, 0, 3600);
    check("auth.leeway_seconds", settings.auth.leeway_seconds, 0, 60);
    check(
        "budgets.reserved_tokens",
        settings.budgets.reserved_tokens,
        1,
        10_000_000,
    );
    check("retention.days", settings.retention.days.into(), 0, 36_500);
    check("llm.retries", settings.llm.retries.into(), 0, 10);
    let ttls = settings.agents.values();
    for ttl in ttls.filter_map(|agent| agent.session_ttl_seconds) {
        check("agents: session_ttl_seconds", ttl, 1, TEN_YEARS_SECONDS);
    }
}

/// Checks the limits of messages per minute.
fn check_limits(limits: &LimitSettings, problems: &mut Vec<SettingsProblem>) {
    let mut check = |at: &str, value: u64| check_range(at, (value, 1..=1_000_000), problems);
    let of_device = limits.device_messages_per_minute.into();
    check("limits.device_messages_per_minute", of_device);
    let of_address = limits.address_messages_per_minute.into();
    check("limits.address_messages_per_minute", of_address);
    let of_user = limits.user_messages_per_minute.into();
    check("limits.user_messages_per_minute", of_user);
}

fn check_timeouts(llm: TimeoutSettings, problems: &mut Vec<SettingsProblem>) {
    let mut timeout =
        |at: &str, time: Duration| check_range(at, (time.as_secs(), 1..=DAY_SECONDS), problems);
    timeout("llm.connect_timeout_seconds", llm.connect);
    timeout("llm.first_token_timeout_seconds", llm.first_token);
    timeout("llm.idle_timeout_seconds", llm.idle);
    timeout("llm.payload_idle_timeout_seconds", llm.payload_idle);
    timeout("llm.total_timeout_seconds", llm.total);
}

fn postgres_url(at: &str, beginnings: &str, url: &str, problems: &mut Vec<SettingsProblem>) {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        problems.push(SettingsProblem::new(
            at,
            format!("must begin with {beginnings}"),
        ));
    }
    if url.split('%').skip(1).any(|rest| {
        !rest
            .get(..2)
            .is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()))
    }) {
        // Checked here because libpq's error message would contain the password.
        problems.push(SettingsProblem::new(
            at,
            "has a % without two hexadecimal digits: write %25 for a percent sign",
        ));
    }
    let needs_tls = ["sslmode=require", "sslmode=verify"]
        .iter()
        .any(|mode| url.contains(mode));
    if needs_tls && !cfg!(feature = "postgres-tls") {
        problems.push(SettingsProblem::new(
            at,
            "needs TLS, which is not compiled in: build with --features postgres-tls",
        ));
    }
}

fn addresses(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    let url = settings.database.url.reveal();
    match url.strip_prefix("sqlite:") {
        Some(path) if path.is_empty() || path.contains(":memory:") => problems.push(
            SettingsProblem::new("DATABASE_URL", "must name a file: sqlite:data/frontdesk.db"),
        ),
        Some(_) => {}
        None => postgres_url("DATABASE_URL", "postgres:// or sqlite:", url, problems),
    }
    let listen_url = settings.database.listen_url.reveal();
    if !listen_url.is_empty() {
        postgres_url("DATABASE_LISTEN_URL", "postgres://", listen_url, problems);
    }
    for (at, url) in [
        ("OPENAI_BASE_URL", &settings.llm.openai.base_url),
        ("ANTHROPIC_BASE_URL", &settings.llm.anthropic.base_url),
    ] {
        if !url.is_empty()
            && !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        {
            problems.push(SettingsProblem::new(at, "must be an http or https URL"));
        }
    }
    for origin in &settings.server.allowed_origins {
        let exact =
            url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
        if !exact {
            problems.push(SettingsProblem::new(
                "server.allowed_origins",
                format!("{origin} is not an origin: write scheme, host and port only, as in https://www.example.com"),
            ));
        }
    }
}
