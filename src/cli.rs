//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    app::{App, StartError},
    auth::Role,
    clock::{Clock, DAY_MICROS, SystemClock, Timestamp},
    config::{self, Loaded, Settings, Sources},
    http::{self, HttpError},
    maintenance::Maintenance,
    server::Server,
    sessions::Sessions,
    store::{ConversationId, Owner, Store, budgets::SpentBy},
    telemetry,
};

/// Maximum batches of housekeeping in one `tick`: a cron job must end.
const TICK_BATCHES: usize = 10_000;

#[derive(Parser)]
#[command(name = "frontdesk", version, about = "The chat backend behind a website.", after_help = environment_help())]
struct Cli {
    /// The settings file; without this option frontdesk.toml, if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Listen {
    /// The address to listen on.
    #[arg(long, global = true)]
    host: Option<String>,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, global = true)]
    port: Option<String>,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Serve the chat (the default command).
    Serve,
    /// Bring the database schema up to date, then exit.
    Migrate(MigrateOptions),
    /// Do all housekeeping and due jobs once, then exit; for a cron job.
    Tick,
    /// Show how many tokens models have read and written, per day (UTC).
    Usage(UsageOf),
    /// Make a token for a signed-in user, for development.
    Token(TokenOf),
    /// Check whether the server on this machine is up; for containers.
    Healthcheck,
    /// Check or show the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Args, Clone, Copy)]
struct MigrateOptions {
    /// Also drop the database functions that only other versions call. Use this when no server of another version
    /// is running any more.
    #[arg(long)]
    finish: bool,
}

#[derive(Args, Clone)]
struct UsageOf {
    /// Number of days, including today.
    #[arg(long, default_value_t = 7)]
    days: u16,
    /// Count only this device.
    #[arg(long, value_parser = device)]
    device: Option<Owner>,
    /// Count only this conversation.
    #[arg(long)]
    conversation: Option<ConversationId>,
}

#[derive(Args, Clone)]
struct TokenOf {
    /// The user's id (`sub`).
    #[arg(long)]
    sub: String,
    /// What the user may do.
    #[arg(long, value_enum, default_value_t = Role::User)]
    role: Role,
    /// Seconds until the token expires.
    #[arg(long, default_value_t = 3600)]
    seconds: u32,
}

#[derive(Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Report all problems of the settings.
    Check,
    /// Print every setting with its default and its explanation.
    Default,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Config(ConfigCommand::Default)) = cli.command {
        print!("{}", config::defaults_document());
        return ExitCode::SUCCESS;
    }
    let flags = [
        ("server.host", cli.listen.host),
        ("server.port", cli.listen.port),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(path, value)| Some((path, value?)));
    let sources = Sources {
        file: cli.config,
        flags: flags.collect(),
        ..Sources::from_process()
    };
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("The settings are wrong:");
            for problem in problems {
                eprintln!("  {problem}");
            }
            return ExitCode::FAILURE;
        }
    };
    run(cli.command.unwrap_or(Command::Serve), loaded)
}

fn run(command: Command, loaded: Loaded) -> ExitCode {
    let Loaded { settings, warnings } = loaded;
    telemetry::start(&settings.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("frontdesk: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match command {
            Command::Serve => serve(settings).await,
            Command::Migrate(options) => migrate(&settings, options).await,
            Command::Tick => tick(settings).await,
            Command::Usage(of) => usage(&settings, of).await,
            Command::Token(of) => token(settings, of).await,
            Command::Healthcheck => healthcheck(&settings).await,
            Command::Config(_) => check(settings).await,
        }
    });
    // A thread that hangs in a database call must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frontdesk: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    Server::run(App::new(settings, Arc::new(SystemClock))?).await
}

async fn migrate(settings: &Settings, options: MigrateOptions) -> Result<(), StartError> {
    let store = Store::open(&settings.database, Arc::new(SystemClock))?;
    let applied = store.migrate().await?;
    println!("{}: {} migrations applied", store.describe(), applied.len());
    if options.finish {
        let dropped = store.finish_migration().await?;
        println!("{dropped} database functions of other versions dropped");
    }
    Ok(())
}

fn device(id: &str) -> Result<Owner, &'static str> {
    Owner::parse(id).ok_or("is no device id")
}

/// Prints the tokens of each day.
async fn usage(settings: &Settings, of: UsageOf) -> Result<(), StartError> {
    let store = Store::open(&settings.database, Arc::new(SystemClock))?;
    let today = SystemClock.now().0.div_euclid(DAY_MICROS);
    println!("day         turns       input      output  judged       input      output");
    for day in (today + 1 - i64::from(of.days))..=today {
        let at = |day: i64| Timestamp(day * DAY_MICROS);
        let spent = store.spent(SpentBy {
            from: Some(at(day)),
            before: Some(at(day + 1)),
            device: of.device.clone(),
            conversation: of.conversation,
        });
        let (turns, judges) = spent.await?;
        let date = String::from_utf8_lossy(&at(day).digits()).into_owned();
        let date = date.get(..10).unwrap_or_default();
        println!(
            "{date}  {:>5}  {:>10}  {:>10}  {:>6}  {:>10}  {:>10}",
            turns.count, turns.input, turns.output, judges.count, judges.input, judges.output
        );
    }
    Ok(())
}

async fn tick(settings: Settings) -> Result<(), StartError> {
    let app = App::new(settings, Arc::new(SystemClock))?;
    app.store.migrate().await?;
    let maintenance = Maintenance::new(
        app.store.clone(),
        Sessions::clone(app.engine.sessions()),
        Arc::new(SystemClock),
        &app.settings,
    );
    let swept = maintenance.sweep(TICK_BATCHES).await?;
    let mut jobs = 0;
    loop {
        match app.jobs.work().await? {
            0 => break,
            some => jobs += some,
        }
    }
    println!(
        "cleaned up: {} expired sessions, {} abandoned turns, {} old logs, {} old conversations; \
         tried: {jobs} jobs",
        swept.sessions, swept.turns, swept.logs, swept.conversations
    );
    Ok(())
}

async fn token(settings: Settings, of: TokenOf) -> Result<(), StartError> {
    let app = App::new(settings, Arc::new(SystemClock))?;
    app.store.migrate().await?;
    let life = Duration::from_secs(of.seconds.into());
    println!("{}", app.auth.token(&of.sub, of.role, life).await?);
    Ok(())
}

/// Asks `/healthz`, which does not depend on the database: a container must not be restarted because its
/// database is away.
async fn healthcheck(settings: &Settings) -> Result<(), StartError> {
    let host = match settings.server.host {
        host if !host.is_unspecified() => host,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let url = format!(
        "http://{}/healthz",
        SocketAddr::new(host, settings.server.port)
    );
    let call = http::local_client(settings.llm.timeouts())?
        .get(url)
        .timeout(Duration::from_secs(3));
    let answer = call
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    answer.map_err(HttpError::from)?;
    Ok(())
}

async fn check(settings: Settings) -> Result<(), StartError> {
    println!(
        "The settings are in order: {} agents.",
        settings.agents.len()
    );
    if settings.database.url.reveal().starts_with("sqlite:") {
        return Ok(());
    }
    let store = Store::open(&settings.database, Arc::new(SystemClock))?;
    match store.is_behind_pooler().await {
        Ok(true) => println!(
            "A transaction pooler stands in front of {store:?}: no statement stays prepared, which \
             database.statement_cache = \"off\" makes sure of. Set DATABASE_LISTEN_URL to a direct \
             connection, so that instances hear of each other's turns at once."
        ),
        Ok(false) => {}
        Err(error) => {
            println!("{store:?} does not answer: {error}");
            return Ok(());
        }
    }
    match store.unused_functions().await? {
        0 => {}
        count => println!(
            "{store:?} has {count} functions of other versions. When no server of another version is left, \
             `frontdesk migrate --finish` drops them."
        ),
    }
    Ok(())
}

fn environment_help() -> String {
    let names = config::environment_names().map(|(name, path)| format!("  {name:<28} {path}\n"));
    format!(
        "Environment:\n{}  FRONTDESK_CONFIG             the settings' file\n\n\
         Every setting has a name of this form too: FRONTDESK_LLM__TOTAL_TIMEOUT_SECONDS.\n\
         `frontdesk config default` explains each.",
        names.collect::<String>()
    )
}
