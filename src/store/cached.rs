//! Statements that a connection prepares only once.
//!
//! diesel prepares statements again at every call if their text might change: every UPDATE,
//! `DO UPDATE`, `IN` on SQLite and raw SQL. [`cached`] keeps a statement whose text is always the
//! same in the connection's cache, under that text.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

/// A statement whose text never changes, whatever is bound to it. It must return rows: `execute`
/// passes diesel a reference, and diesel does not see this wrapper through a reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached<Q>(Q);

/// Declares that a statement's text never changes.
pub(super) fn cached<Q>(statement: Q) -> Cached<Q> {
    Cached(statement)
}

impl<Q, DB> QueryFragment<DB> for Cached<Q>
where
    DB: Backend,
    Q: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    // diesel does not document this method; the test below checks that it works.
    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q> QueryId for Cached<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Cached<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, Conn> RunQueryDsl<Conn> for Cached<Q> {}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use diesel::{
        Connection, QueryableByName, SqliteConnection, connection::InstrumentationEvent, sql_query,
        sql_types::Text,
    };

    use super::*;

    #[derive(QueryableByName)]
    struct Word {
        #[diesel(sql_type = Text)]
        word: String,
    }

    #[test]
    fn a_cached_statement_is_prepared_once() {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        let prepared = Arc::new(Mutex::new(0));
        let count = Arc::clone(&prepared);
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::CacheQuery { .. } = event {
                *count.lock().unwrap() += 1;
            }
        });
        for word in ["a", "b", "c"] {
            let statement = sql_query("select ? as word").bind::<Text, _>(word);
            let found: Word = cached(statement).get_result(&mut conn).unwrap();
            assert_eq!(found.word, word);
        }
        assert_eq!(*prepared.lock().unwrap(), 1);
    }
}
