//! A transaction pooler (PgBouncer) between the instances and the database.

use super::*;

/// PgBouncer in transaction mode with three server connections, before one database.
struct Pooler {
    url: String,
    child: std::process::Child,
    _directory: tempfile::TempDir,
}

impl Pooler {
    async fn start(database: &Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let direct = url::Url::parse(&database.url).unwrap();
        let name = direct.path().trim_start_matches('/');
        let users = directory.path().join("users");
        std::fs::write(&users, "\"frontdesk\" \"\"\n").unwrap();
        let config = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host=127.0.0.1 port={} user=frontdesk pool_size=3\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             auth_file = {}\npool_mode = transaction\nmax_client_conn = 200\n",
            direct.port().unwrap(),
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        // PgBouncer refuses to run as root, as PostgreSQL does.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let mut command = std::process::Command::new("pgbouncer");
        command
            .arg("-q")
            .args(is_root().then_some(["-u", "nobody"]).into_iter().flatten());
        let child = command
            .arg(&config)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until_open(port);
        Self {
            url: format!("postgres://frontdesk@127.0.0.1:{port}/{name}"),
            child,
            _directory: directory,
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_root() -> bool {
    let owner = std::fs::metadata("/proc/self").unwrap();
    std::os::unix::fs::MetadataExt::uid(&owner) == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_three_connections_is_enough_for_two_instances() {
    let database = Database::empty(Db::Postgres).await;
    let pooler = Pooler::start(&database).await;
    let (code, said) = Process::run(&["config", "check"], &[("DATABASE_URL", &pooler.url)]);
    assert_eq!(code, Some(0));
    assert!(
        said.contains("database.statement_cache = \"off\""),
        "{said}"
    );
    let fleet = Fleet::on(database, &pooler.url, &[]).await;
    let (stream, _) = fleet.begin().await;
    let turn = stream.turn_id();
    let elsewhere = fleet.resume(&turn, &format!("{turn}.1:0"), "").await;
    let devices: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
    for _ in 0..5 {
        let says = devices.iter().enumerate().map(|(n, device)| {
            let process = if n % 2 == 0 {
                &fleet.first
            } else {
                &fleet.second
            };
            let call = fleet.call_of(device, process, Method::POST, "/chat");
            async { Said::of(call.json(&json!({"content": "Hi"})).send().await.unwrap()).await }
        });
        for said in futures_util::future::join_all(says).await {
            assert_eq!(said.content(), "Very well.");
        }
    }
    fleet.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(elsewhere.told().await, "ab|stop");
    assert_eq!(
        fleet.database.count("messages".into()).await,
        20 * 5 * 2 + 2
    );
}
