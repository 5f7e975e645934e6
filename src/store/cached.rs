//! Statements that are prepared once.
//!
//! diesel prepares anew at every call what it believes to change: each UPDATE, `DO UPDATE`, `IN`
//! on SQLite and all SQL that is written out. Where the text is always the same, the
//! connection's cache may keep it, by its text.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

/// A statement whose text never changes, whatever is bound to it. It has to return something:
/// `execute` passes a reference on, and diesel looks at that one as if it were not wrapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached<Q>(Q);

/// Says that a statement's text never changes.
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

    // Hidden in diesel's documentation; the test below holds it.
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
