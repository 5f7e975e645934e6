//! Whether a transaction pooler stands between this server and PostgreSQL.
//!
//! Behind one, a connection is another session with each transaction: what diesel prepared is not
//! there, or worse, something else has its name.

use diesel::{
    PgConnection, QueryableByName, RunQueryDsl, sql_query,
    sql_types::{BigInt, Text},
};
use uuid::Uuid;

use super::{Pools, StoreError};

/// A pooler gives the session that was used last, unless somebody else was quicker.
const PROBE_TRIES: usize = 3;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Prepares a statement by one connection, and looks whether another one sees it.
pub(super) async fn stands_between(pools: &Pools<PgConnection>) -> Result<bool, StoreError> {
    for _ in 0..PROBE_TRIES {
        // A name of its own: what another server left behind is no sign.
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
            // Behind a pooler this may be another session, which does not know it.
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
