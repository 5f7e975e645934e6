//! The batches as functions of the database: so each is one round trip, with limits and plans of its
//! own, and a transaction that nobody can leave open.
//!
//! They are made with the migrations. A function is named after its text: servers of different versions
//! share a database while they are exchanged, each with its own.

use std::sync::LazyLock;

use diesel::{
    QueryResult, QueryableByName, RunQueryDsl,
    connection::SimpleConnection,
    sql_query,
    sql_types::{Array, Text},
};
use sha2::{Digest, Sha256};

use super::dialect::Conn;

/// A function of the database.
pub struct Function {
    /// What calls it, with its parameters bound.
    pub call: String,
    name: String,
    create: String,
}

impl Function {
    fn new(name: &str, definition: &str, parameters: usize) -> Self {
        let digest = Sha256::digest(definition);
        let digest: String = digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{name}_{digest}");
        let parameters: Vec<String> = (1..=parameters).map(|n| format!("${n}")).collect();
        Self {
            call: format!("select * from {name}({})", parameters.join(", ")),
            create: format!("create or replace function {name} {definition}"),
            name,
        }
    }
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $file:literal, $parameters:literal;)*) => {
        $(
            $(#[$doc])*
            pub static $name: LazyLock<Function> = LazyLock::new(|| {
                Function::new($file, include_str!(concat!($file, ".sql")), $parameters)
            });
        )*

        const ALL: [&LazyLock<Function>; [$(stringify!($name)),*].len()] = [$(&$name),*];
    };
}

functions! {
    /// Begins turns.
    BEGIN_TURNS = "begin_turns", 18;
    /// Finishes turns.
    FINISH_TURNS = "finish_turns", 22;
    /// Appends to the logs of running turns.
    WRITE_LOGS = "write_logs", 7;
    /// Renews leases.
    RENEW_LEASES = "renew_leases", 3;
}

/// Makes those that are not there.
pub fn create(conn: &mut Conn) -> QueryResult<()> {
    #[derive(QueryableByName)]
    struct Known {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let names: Vec<&str> = ALL.iter().map(|function| function.name.as_str()).collect();
    let known = "select proname::text as name from pg_proc \
        where proname = any($1) and pronamespace = current_schema()::regnamespace";
    let known: Vec<Known> = sql_query(known).bind::<Array<Text>, _>(names).load(conn)?;
    let is_missing =
        |function: &&&LazyLock<Function>| known.iter().all(|known| known.name != function.name);
    for function in ALL.iter().filter(is_missing) {
        conn.batch_execute(&function.create)?;
    }
    Ok(())
}
