//! The batches as functions of the database: so each is one round trip, with limits and plans of its
//! own, and a transaction that nobody can leave open.
//!
//! They are made with the migrations. A function is named after a digest of its text: servers of different versions
//! share a database while they are exchanged, each with its own. [`drop_unused`] drops those of earlier versions.

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

/// How long a batch waits for a row, in milliseconds; what waits longer goes alone.
const BATCH_LOCK_TIMEOUT: u32 = 200;
/// How long writing logs waits for a row, in milliseconds; what is left goes with the next.
const LOG_LOCK_TIMEOUT: u32 = 500;
/// How many bytes of the digest of its text are in a function's name.
const DIGEST_BYTES: usize = 6;

/// A function of the database.
pub struct DatabaseFunction {
    /// What calls it, with its parameters bound.
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

/// A definition with the values of the constants that it shares with the Rust code.
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

        /// Those that others call come first.
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

/// The functions in the database of this and other versions: of these names, with a digest.
fn known(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let plain: Vec<&str> = ALL.iter().map(|function| function.plain).collect();
    let known = "select proname::text as name from pg_proc \
        where pronamespace = current_schema()::regnamespace \
        and proname ~ '_[0-9a-f]{12}$' and left(proname, -13) = any($1)";
    let known: Vec<ExistingFunction> = sql_query(known).bind::<Array<Text>, _>(plain).load(conn)?;
    Ok(known.into_iter().map(|known| known.name).collect())
}

/// Whether all of this version are there.
pub fn all_known(conn: &mut Conn) -> QueryResult<bool> {
    let known = known(conn)?;
    Ok(ALL.iter().all(|function| known.contains(&function.name)))
}

/// Makes those that are not there.
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

/// Those of other versions, which this one does not call.
pub fn unused(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let mut unused = known(conn)?;
    unused.retain(|name| ALL.iter().all(|function| function.name != *name));
    Ok(unused)
}

/// Drops those of other versions: servers of these must have been stopped. Returns how many there were.
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
