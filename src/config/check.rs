//! What the types of the settings cannot say.

use std::collections::BTreeSet;

use super::{
    AgentSettings, HUMAN, LlmSettings, Settings, SettingsProblem, SlotKind, judges, people,
    rules::{check_headers, check_secret, check_webhook},
    tools,
};

const DAY_SECONDS: u64 = 86_400;

/// Adds every problem that the settings have.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    let llm = settings.llm.timeouts();
    let ttls = settings
        .agents
        .values()
        .filter_map(|agent| agent.session_ttl_seconds);
    let within = [
        (
            "session.ttl_seconds",
            settings.session.ttl_seconds,
            1,
            10 * 365 * DAY_SECONDS,
        ),
        ("turn.lease_seconds", settings.turn.lease_seconds, 3, 3600),
        ("turn.attempts", settings.turn.attempts.into(), 1, 100),
        ("turn.tool_rounds", settings.turn.tool_rounds.into(), 1, 50),
        (
            "turn.most_seconds",
            settings.turn.most_seconds,
            1,
            DAY_SECONDS,
        ),
        ("turn.wait_seconds", settings.turn.wait_seconds, 0, 300),
        (
            "turn.log_kept_seconds",
            settings.turn.log_kept_seconds,
            0,
            365 * DAY_SECONDS,
        ),
        (
            "turn.history_messages",
            settings.turn.history_messages.into(),
            1,
            10_000,
        ),
        (
            "database.pool_size",
            settings.database.pool_size.into(),
            1,
            1_000,
        ),
        (
            "server.lame_duck_milliseconds",
            settings.server.lame_duck_milliseconds,
            0,
            60_000,
        ),
        (
            "server.shutdown_seconds",
            settings.server.shutdown_seconds,
            0,
            3600,
        ),
        (
            "limits.device_messages_per_minute",
            settings.limits.device_messages_per_minute.into(),
            1,
            1_000_000,
        ),
        (
            "limits.address_messages_per_minute",
            settings.limits.address_messages_per_minute.into(),
            1,
            1_000_000,
        ),
        (
            "limits.user_messages_per_minute",
            settings.limits.user_messages_per_minute.into(),
            1,
            1_000_000,
        ),
        ("auth.leeway_seconds", settings.auth.leeway_seconds, 0, 60),
        (
            "budgets.reserved_tokens",
            settings.budgets.reserved_tokens,
            1,
            10_000_000,
        ),
        ("llm.retries", settings.llm.retries.into(), 0, 10),
        (
            "llm.connect_timeout_seconds",
            llm.connect.as_secs(),
            1,
            DAY_SECONDS,
        ),
        (
            "llm.first_token_timeout_seconds",
            llm.first_token.as_secs(),
            1,
            DAY_SECONDS,
        ),
        ("retention.days", settings.retention.days.into(), 0, 36_500),
        (
            "llm.idle_timeout_seconds",
            llm.idle.as_secs(),
            1,
            DAY_SECONDS,
        ),
        (
            "llm.payload_idle_timeout_seconds",
            llm.payload_idle.as_secs(),
            1,
            DAY_SECONDS,
        ),
        (
            "llm.total_timeout_seconds",
            llm.total.as_secs(),
            1,
            DAY_SECONDS,
        ),
    ];
    let ttls = ttls.map(|ttl| {
        (
            "agents: session_ttl_seconds",
            ttl,
            1,
            10 * 365 * DAY_SECONDS,
        )
    });
    for (at, value, least, most) in within.into_iter().chain(ttls) {
        if !(least..=most).contains(&value) {
            problems.push(SettingsProblem::new(
                at,
                format!("must be from {least} to {most}"),
            ));
        }
    }
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
        problems.push(SettingsProblem::new(
            "RUST_LOG",
            "must be a level, or target=level pairs: info,frontdesk=debug",
        ));
    }
    check_models(&settings.llm, problems);
    addresses(settings, problems);
    if !settings
        .agents
        .contains_key(&settings.routing.default_agent)
    {
        let known = settings
            .agents
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        problems.push(SettingsProblem::new(
            "routing.default_agent",
            format!("must be one of the agents: {known}"),
        ));
    }
    if settings.agents.contains_key(HUMAN) {
        let mend = "is the name of the people at the desk: call the agent something else";
        problems.push(SettingsProblem::new(format!("agents.{HUMAN}"), mend));
    }
    for (path, agent) in &settings.agents {
        check_agent(path, agent, problems);
    }
    tools::check(settings, problems);
}

fn check_models(llm: &LlmSettings, problems: &mut Vec<SettingsProblem>) {
    if let Some(spec) = llm
        .default_model()
        .filter(|spec| !llm.vendor_of(spec).is_set())
    {
        let mend = format!(
            "is {spec}, but its vendor has no key and no address: set OPENAI_API_KEY, OPENAI_BASE_URL or ANTHROPIC_API_KEY"
        );
        problems.push(SettingsProblem::new("FRONTDESK_MODEL", mend));
    }
    for (at, vendor) in [
        ("OPENAI_API_KEY", &llm.openai),
        ("ANTHROPIC_API_KEY", &llm.anthropic),
    ] {
        if !vendor
            .api_key
            .reveal()
            .chars()
            .all(|c| c.is_ascii_graphic())
        {
            problems.push(SettingsProblem::new(
                at,
                "must be visible ASCII characters without blanks",
            ));
        }
    }
    for (name, model) in &llm.models {
        let at = |rest: &str| format!("llm.models.{name}.{rest}");
        if model
            .temperature
            .is_some_and(|temperature| !(0.0..=2.0).contains(&temperature))
        {
            problems.push(SettingsProblem::new(
                at("temperature"),
                "must be from 0 to 2",
            ));
        }
        if model.max_tokens == Some(0) {
            problems.push(SettingsProblem::new(at("max_tokens"), "must be at least 1"));
        }
        if model.fallbacks.iter().any(|spec| spec == "offline") {
            problems.push(SettingsProblem::new(
                at("fallbacks"),
                "offline is no model to fall back to",
            ));
        }
        check_headers(&at("headers"), &model.headers, problems);
    }
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
        // libpq would repeat the password in its complaint.
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
            "asks for TLS, which this build has not: build with --features postgres-tls",
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
                format!("{origin} is no origin: scheme, host and port alone, as in https://www.example.com"),
            ));
        }
    }
}

fn check_agent(path: &str, agent: &AgentSettings, problems: &mut Vec<SettingsProblem>) {
    let at = |rest: &str| format!("agents.{path}{rest}");
    let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
    if path.is_empty() || path.len() > 100 || !path.chars().all(well_formed) {
        problems.push(SettingsProblem::new(
            at(""),
            "an agent's path has 1 to 100 of A-Z a-z 0-9 _ - /",
        ));
    }
    if let Some(webhook) = &agent.webhook {
        check_webhook(webhook, &at(".webhook"), problems);
    } else if agent.prompt.is_empty() || agent.flow.greeting.is_empty() {
        problems.push(SettingsProblem::new(
            at(""),
            "needs a prompt and a flow, or a webhook that answers",
        ));
    }
    let names: BTreeSet<&str> = agent.slots.iter().map(|slot| slot.name.as_str()).collect();
    if names.len() != agent.slots.len() {
        problems.push(SettingsProblem::new(
            at(".slots"),
            "two slots have the same name",
        ));
    }
    for slot in &agent.slots {
        for pattern in &slot.volunteered {
            match regex::Regex::new(pattern) {
                Ok(regex) if regex.captures_len() > 1 => {}
                Ok(_) => problems.push(SettingsProblem::new(
                    at(".slots"),
                    format!("{pattern} has no group to take the value from"),
                )),
                Err(error) => problems.push(SettingsProblem::new(at(".slots"), error.to_string())),
            }
        }
        if let Some(name) = slot
            .refused_clears
            .iter()
            .find(|name| !names.contains(name.as_str()))
        {
            problems.push(SettingsProblem::new(
                at(".slots"),
                format!("refused_clears names {name}, which is no slot"),
            ));
        }
        if slot.kind != SlotKind::YesNo
            && (slot.implied || slot.refused.is_some() || !slot.refused_clears.is_empty())
        {
            problems.push(SettingsProblem::new(
                at(".slots"),
                format!("{}: only a yes_no can be refused or implied", slot.name),
            ));
        }
        let texts = [&slot.ask, &slot.retry].into_iter().chain(&slot.refused);
        unknown_slots(texts, &names, &at(".slots"), problems);
    }
    let flow = [
        &agent.flow.greeting,
        &agent.flow.done,
        &agent.flow.again,
        &agent.flow.bye,
    ];
    unknown_slots(flow.into_iter(), &names, &at(".flow"), problems);
}

fn unknown_slots<'a>(
    texts: impl Iterator<Item = &'a String>,
    names: &BTreeSet<&str>,
    at: &str,
    problems: &mut Vec<SettingsProblem>,
) {
    for text in texts {
        for (_, rest) in text
            .match_indices('{')
            .filter_map(|(i, _)| text.split_at_checked(i + 1))
        {
            let name = rest.split('}').next().unwrap_or_default();
            if !matches!(name, "first_name" | "result") && !names.contains(name) {
                problems.push(SettingsProblem::new(
                    at,
                    format!("{{{name}}} is no slot of this agent"),
                ));
            }
        }
    }
}
