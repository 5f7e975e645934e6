//! The batches as database functions: each is one round trip, has its own limits and plans, and its transaction
//! cannot be left open.
//!
//! Migrations create them. A function's name contains a digest of its text, because servers of different versions
//! share a database during an upgrade, each with its own functions. [`drop_unused`] drops those of other versions.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use diesel::{
    QueryResult, QueryableByName, RunQueryDsl,
    connection::SimpleConnection,
    sql_query,
    sql_types::{Array, Text},
};
use sha2::{Digest, Sha256};

use super::dialect::{Conn, LOCK_TIMEOUT};
use crate::store::CHANNEL;

/// How long a batch waits for a row lock, in milliseconds. After that its steps run alone.
const BATCH_LOCK_TIMEOUT: u32 = 200;
/// How long a log write waits for a row lock, in milliseconds. After that the next write takes its records along.
const LOG_LOCK_TIMEOUT: u32 = 500;
/// How many bytes of the digest a function's name contains.
const DIGEST_BYTES: usize = 6;

/// A function of the database.
pub struct DatabaseFunction {
    /// The statement that calls it, with a placeholder for each parameter.
    pub call: String,
    /// Its name without the digest.
    plain: &'static str,
    name: String,
    create: String,
}

impl DatabaseFunction {
    /// `called`: functions that the definition calls, as `:name(…)`.
    fn new(
        plain: &'static str,
        definition: &str,
        parameters: usize,
        called: &[&'static LazyLock<Self>],
    ) -> Self {
        let definition = called
            .iter()
            .fold(with_constants(definition), |text, called| {
                text.replace(&format!(":{}(", called.plain), &format!("{}(", called.name))
            });
        let digest = Sha256::digest(&definition);
        let digest = HEXLOWER.encode(digest.get(..DIGEST_BYTES).unwrap_or_default());
        let name = format!("{plain}_{digest}");
        let parameters: Vec<String> = (1..=parameters).map(|n| format!("${n}")).collect();
        Self {
            call: format!("select * from {name}({})", parameters.join(", ")),
            create: format!("create or replace function {name} {definition}"),
            plain,
            name,
        }
    }
}

/// Fills in the constants that a definition shares with the Rust code.
fn with_constants(definition: &str) -> String {
    let constants = [
        (":batch_lock_timeout", BATCH_LOCK_TIMEOUT.to_string()),
        (":log_lock_timeout", LOG_LOCK_TIMEOUT.to_string()),
        (":lock_timeout", LOCK_TIMEOUT.to_string()),
        (":channel", format!("'{CHANNEL}'")),
    ];
    let definition = definition.to_owned();
    constants
        .iter()
        .fold(definition, |text, (name, value)| text.replace(name, value))
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $file:literal, $parameters:literal, calls $called:tt;)*) => {
        $(
            $(#[$doc])*
            pub static $name: LazyLock<DatabaseFunction> = LazyLock::new(|| {
                let definition = include_str!(concat!($file, ".sql"));
                DatabaseFunction::new($file, definition, $parameters, &$called)
            });
        )*

        /// A function comes before those that call it.
        const ALL: [&LazyLock<DatabaseFunction>; [$(stringify!($name)),*].len()] = [$(&$name),*];
    };
}

functions! {
    /// The fence predicate.
    OWNS = "owns", 4, calls [];
    /// Stores a message.
    INSERT_MESSAGE = "insert_message", 13, calls [];
    /// Begins turns.
    BEGIN_TURNS = "begin_turns", 19, calls [&INSERT_MESSAGE];
    /// Finishes turns.
    FINISH_TURNS = "finish_turns", 22, calls [&OWNS, &INSERT_MESSAGE];
    /// Appends to the logs of running turns.
    WRITE_LOGS = "write_logs", 7, calls [&OWNS];
    /// Renews leases.
    RENEW_LEASES = "renew_leases", 3, calls [];
}

#[derive(QueryableByName)]
struct ExistingFunction {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The names of the database's functions of this and other versions: a name in [`ALL`], and a digest.
fn known(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let plain: Vec<&str> = ALL.iter().map(|function| function.plain).collect();
    let known = "select proname::text as name from pg_proc \
        where pronamespace = current_schema()::regnamespace \
        and proname ~ '_[0-9a-f]{12}$' and left(proname, -13) = any($1)";
    let known: Vec<ExistingFunction> = sql_query(known).bind::<Array<Text>, _>(plain).load(conn)?;
    Ok(known.into_iter().map(|known| known.name).collect())
}

/// Whether all functions of this version exist.
pub fn all_known(conn: &mut Conn) -> QueryResult<bool> {
    let known = known(conn)?;
    Ok(ALL.iter().all(|function| known.contains(&function.name)))
}

/// Creates the functions that are missing.
pub fn create(conn: &mut Conn) -> QueryResult<()> {
    let known = known(conn)?;
    for function in ALL
        .iter()
        .filter(|function| !known.contains(&function.name))
    {
        conn.batch_execute(&function.create)?;
    }
    Ok(())
}

/// The functions of other versions, which this one does not call.
pub fn unused(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let mut unused = known(conn)?;
    unused.retain(|name| ALL.iter().all(|function| function.name != *name));
    Ok(unused)
}

/// Drops the functions of other versions, whose servers must have been stopped. Returns how many were dropped.
pub fn drop_unused(conn: &mut Conn) -> QueryResult<usize> {
    let unused = unused(conn)?;
    for name in &unused {
        conn.batch_execute(&format!("drop function if exists {name}"))?;
    }
    Ok(unused.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_and_every_function_that_is_called_is_filled_in() {
        let placeholder = regex::Regex::new(r"[^:]:[a-z]").unwrap();
        for function in ALL {
            assert!(
                !placeholder.is_match(&function.create),
                "{}",
                function.create
            );
        }
    }
}
