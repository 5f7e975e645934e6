//! Turns begun and finished many at once: one after the other in one transaction, a savepoint each.

use std::sync::Arc;

use super::{
    begin,
    dialect::{Conn, write_tx},
    turns,
};
use crate::store::{
    StoreError,
    batches::Batch,
    turns::{Begin, BeginTurn, Finish, FinishTurn},
};

pub fn begin_turns(conn: &mut Conn, turns: &[Arc<BeginTurn>]) -> Batch<Begin> {
    each(conn, turns, begin::begin)
}

pub fn finish_turns(conn: &mut Conn, turns: &[Arc<FinishTurn>]) -> Batch<Finish> {
    each(conn, turns, turns::finish)
}

fn each<S, T>(
    conn: &mut Conn,
    steps: &[Arc<S>],
    run: fn(&mut Conn, &S) -> Result<T, StoreError>,
) -> Batch<T> {
    let all = write_tx(conn, |conn| {
        let done = steps.iter().map(|step| match run(conn, step) {
            // Nothing that follows could be trusted: SQLite may have given the transaction up.
            Err(StoreError::Unavailable(why)) => Err(StoreError::Unavailable(why)),
            done => Ok(done),
        });
        done.collect()
    });
    all.map_or_else(Batch::Failed, Batch::Done)
}
