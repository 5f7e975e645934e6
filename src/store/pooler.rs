//! Detects a transaction pooler between this server and PostgreSQL.
//!
//! Behind one, each transaction may run in another session: a statement that diesel prepared is
//! missing there, or worse, another statement has its name.

use diesel::{
    PgConnection, QueryableByName, RunQueryDsl, sql_query,
    sql_types::{BigInt, Text},
};
use uuid::Uuid;

use super::{Pools, StoreError};

/// A pooler hands out the session used last, unless another client gets it first: hence several tries.
const PROBE_TRIES: usize = 3;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Prepares a statement on one connection and checks whether another one sees it: only behind a pooler do they
/// share a session.
pub(super) async fn stands_between(pools: &Pools<PgConnection>) -> Result<bool, StoreError> {
    for _ in 0..PROBE_TRIES {
        // A unique name: a statement left behind by another server must not count.
        let name = format!("frontdesk_{}", Uuid::now_v7().simple());
        let prepare = format!("prepare {name} as select 1");
        let forget = format!("deallocate {name}");
        let run = move |conn: &mut PgConnection| {
            sql_query(&prepare).execute(conn)?;
            Ok(())
        };
        pools.write.run(run).await?;
        let seen = pools.renew.run(move |conn| {
            let seen = "select count(*) from pg_prepared_statements where name = $1";
            let seen: Count = sql_query(seen).bind::<Text, _>(&name).get_result(conn)?;
            Ok(seen.count > 0)
        });
        let seen = seen.await?;
        let run = move |conn: &mut PgConnection| {
            // Behind a pooler this may reach another session, which does not have the statement.
            drop(sql_query(&forget).execute(conn));
            Ok(())
        };
        pools.write.run(run).await?;
        if seen {
            return Ok(true);
        }
    }
    Ok(false)
}
