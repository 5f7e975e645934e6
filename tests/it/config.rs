//! Settings: where they come from, and how wrong ones are reported.

use std::io::Write as _;

use frontdesk::config::{Loaded, Settings, SettingsProblem, Sources};
use insta::assert_snapshot;

fn load(file: &str, env: &[(&str, &str)]) -> Result<Loaded, Vec<SettingsProblem>> {
    let mut document = tempfile::NamedTempFile::new().unwrap();
    document.write_all(file.as_bytes()).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        file: Some(document.path().to_owned()),
        env: env.collect(),
        flags: Vec::new(),
    }
    .load()
}

fn settings(file: &str, env: &[(&str, &str)]) -> Settings {
    load(file, env).unwrap().settings
}

fn problems(file: &str, env: &[(&str, &str)]) -> String {
    let problems = load(file, env).map(drop).unwrap_err();
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

#[test]
fn later_sources_override_earlier_ones() {
    let file = "[server]\nport = 1\n[session]\nttl_seconds = 2\n[turn]\nlease_seconds = 30";
    let env = [
        ("SESSION_TTL", "3"),
        ("FRONTDESK_TURN__HISTORY_TOKENS", "4"),
        (
            "FRONTDESK_ALLOWED_ORIGINS",
            "https://a.test, https://b.test",
        ),
    ];
    let settings = settings(file, &env);
    assert_eq!((settings.server.port, settings.session.ttl_seconds), (1, 3));
    assert_eq!(
        (settings.turn.lease_seconds, settings.turn.history_tokens),
        (30, 4)
    );
    assert_eq!(
        settings.server.allowed_origins,
        ["https://a.test", "https://b.test"]
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let file = r#"
        [server]
        prot = 8080
        host = "nowhere"
        port = "8080"
        allowed_origins = ["https://example.com/"]
        [turn]
        lease_seconds = 1
        [llm.openai]
        base_url = "ftp://example.com"
        [llm.models."openai:x"]
        temprature = 1.0
        [routing]
        default_agent = "nobody"
        [agents.a]
        description = "A"
        prompt = "A"
        promt = "A"
        flow = { greeting = "A", done = "A", again = "A", bye = "A" }
    "#;
    assert_snapshot!(
        "problems",
        problems(
            file,
            &[
                ("SESSION_TTL", "a day"),
                ("DATABASE_URL", "mysql://root:hunter2@db")
            ]
        )
    );
    let agents = r#"
        [routing]
        default_agent = "a b"
        [agents."a b"]
        description = "A"
        prompt = "A"
        flow = { greeting = "Hello, {nmae}", done = "A", again = "A", bye = "A" }
        slots = [
            { name = "name", kind = "name", ask = "?", retry = "?", volunteered = ["(", "a"] },
            { name = "name", kind = "text", ask = "?", retry = "?", refused = "?", refused_clears = ["what"] },
        ]
    "#;
    assert_snapshot!("agents_problems", problems(agents, &[]));
    assert_snapshot!(
        "no_toml",
        problems("[server", &[]).split_once(": ").unwrap().1
    );
}

#[test]
fn each_value_is_judged_by_itself() {
    let env = [
        ("HOST", "foo"),
        ("PORT", "70000"),
        ("FRONTDESK_DEVICE_IDS", "maybe"),
        ("FRONTDESK_SECRET", "a"),
        ("RUST_LOG", "a=b=c"),
    ];
    let file = r#"
        [llm]
        model = "openai:x"
        total_timeout_seconds = 9223372036854775807
        [llm.models."openai:x"]
        temperature = nan
        max_tokens = 0
        fallbacks = ["offline"]
        headers = { "a b" = "c" }
    "#;
    assert_snapshot!("values_problems", problems(file, &env));
}

#[test]
fn unknown_variables_are_warnings_and_those_of_kubernetes_are_not() {
    let env = [
        ("FRONTDESK_MODLE", "x"),
        ("FRONTDESK_LLM__RETRYS", "1"),
        ("FRONTDESK_PORT", "tcp://10.0.0.1:80"),
        ("FRONTDESK_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("FRONTDESK_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    assert_snapshot!("warnings", load("", &env).unwrap().warnings.join("\n"));
}

#[test]
fn secrets_come_from_files_too_and_are_never_shown() {
    let mut key = tempfile::NamedTempFile::new().unwrap();
    writeln!(key, "sk-hunter2").unwrap();
    let path = key.path().to_str().unwrap();
    let loaded = settings(
        "",
        &[
            ("OPENAI_API_KEY_FILE", path),
            ("DATABASE_URL", "postgres://a:hunter2@db/a"),
        ],
    );
    assert_eq!(loaded.llm.openai.api_key.reveal(), "sk-hunter2");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(problems("", &[("FRONTDESK_SECRET_FILE", "/nowhere")]).contains("cannot be read"));
}

#[test]
fn a_file_that_has_agents_replaces_those_that_are_shipped() {
    let file = r#"
        [routing]
        default_agent = "a"
        [agents.a]
        description = "A"
        prompt = "A"
        flow = { greeting = "A", done = "A", again = "A", bye = "A" }
    "#;
    assert_eq!(settings(file, &[]).agents.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        settings("", &[]).agents.keys().collect::<Vec<_>>(),
        ["scheduling", "support"]
    );
}

#[test]
fn tools_are_checked_and_their_secrets_come_from_the_environment() {
    let file = r#"
        [tools.a]
        description = "A"
        url = "https://{host}/a"
        headers = { Authorization = "Bearer ${A_TOKEN}", "b c" = "d" }
        parameters = { type = "array" }
        result = "status"
        timeout_seconds = 0
        [tools."b c"]
        description = "B"
        url = "ftp://b"
        parameters = { type = "object", properties = { a = { type = "what" } } }
        [tools.c]
        url = "https://c"
        methd = "GET"
        [routing]
        default_agent = "a"
        [agents.a]
        description = "A"
        prompt = "A"
        tools = ["a", "nothing"]
        flow = { greeting = "A", done = "A", again = "A", bye = "A" }
    "#;
    assert_snapshot!("tools_problems", problems(file, &[]));
    let file = r#"
        [tools.a]
        description = "A"
        url = "https://a.test/{id}?b={c}"
        headers = { Authorization = "Bearer ${A_TOKEN}!" }
    "#;
    let loaded = settings(file, &[("A_TOKEN", "hunter2\n")]);
    let header = &loaded.tools["a"].headers["Authorization"];
    assert_eq!(header.reveal(), "Bearer hunter2!");
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn judges_are_checked_and_guard_agents_that_are_there() {
    let file = r#"
        [judges.empty]
        criterion = "safety"
        [judges.both]
        criterion = "quality"
        rubric = "Be kind."
        forbids = ["("]
        pass_at = 2.0
        percent = 101
        agents = ["nobody"]
        [judges.ours]
        criterion = "relevance"
        webhook = { url = "ftp://x", secret = "${JUDGE_SECRET}" }
        [judges.odd]
        criterion = "taste"
        [judges.whole]
        criterion = "quality"
        requires = ["we"]
        [agents.support]
        description = "x"
        guard = "nobody"
        [agents.whole]
        description = "y"
        guard = "whole"
    "#;
    assert_snapshot!("judges_problems", problems(file, &[]));
    let file = r#"
        [judges.ours]
        criterion = "relevance"
        webhook = { url = "http://x", secret = "${JUDGE_SECRET}" }
        [agents.support]
        description = "x"
        webhook = { url = "http://y", secret = "${JUDGE_SECRET}" }
        guard = "ours"
    "#;
    let settings = settings(file, &[("JUDGE_SECRET", "0123456789abcdef0123456789")]);
    let webhook = settings.judges["ours"].webhook.as_ref().unwrap();
    assert_eq!(webhook.secret.reveal(), "0123456789abcdef0123456789");
    assert!(settings.has_people(), "what is held back goes to somebody");
}

#[test]
fn a_platform_of_many_instances_needs_a_shared_database() {
    for (variable, platform) in [
        ("K_SERVICE", "Cloud Run"),
        ("KUBERNETES_SERVICE_HOST", "Kubernetes"),
    ] {
        assert!(problems("", &[(variable, "x")]).contains(platform));
        assert!(load("", &[(variable, "x"), ("DATABASE_URL", "postgres://db/a")]).is_ok());
    }
}

#[test]
fn a_file_or_nothing_is_no_database_in_memory() {
    for url in ["sqlite:", "sqlite::memory:", "postgres://u:100%sure@db/a"] {
        assert!(
            problems("", &[("DATABASE_URL", url)]).starts_with("DATABASE_URL: "),
            "{url}"
        );
    }
    for url in [
        "sqlite:a.db",
        "postgres://u:p@/db?host=/cloudsql/p:r:i",
        "postgresql://h1:5432,h2:5432/db",
    ] {
        assert!(load("", &[("DATABASE_URL", url)]).is_ok(), "{url}");
    }
    assert!(load("", &[("HOST", "localhost"), ("OPENAI_API_KEY", "sk-x\n")]).is_ok());
}

#[test]
fn tls_that_was_not_built_in_is_said_at_the_start() {
    let required = [("DATABASE_URL", "postgres://db/a?sslmode=require")];
    assert_eq!(load("", &required).is_ok(), cfg!(feature = "postgres-tls"));
    if !cfg!(feature = "postgres-tls") {
        assert!(problems("", &required).contains("--features postgres-tls"));
    }
}
