//! Hints from other instances that a turn's log has grown, over PostgreSQL's `LISTEN`.
//!
//! A hint carries only turn ids and may be lost: readers read the log, and polling covers lost hints.
//! `LISTEN` needs its own connection, without a transaction pooler.

use std::{thread::sleep, time::Duration};

use diesel::{
    PgConnection,
    connection::{Connection as _, SimpleConnection as _},
};

use super::{Db, Store, StoreError, TurnId, connect};

/// The channel for `NOTIFY` and `LISTEN`.
pub(super) const CHANNEL: &str = "frontdesk";
/// How often the connection is polled: libpq reports notifications only when asked.
const LISTEN_POLL_INTERVAL: Duration = Duration::from_millis(15);

impl Store {
    /// Listens until `hear` returns false. `hear` gets the turns of each hint, and an empty slice after
    /// each poll. The first hint is sent by this call itself, to show that hints arrive. May block.
    ///
    /// # Errors
    /// When hints are not available: on SQLite, behind a pooler, or when the connection breaks.
    pub fn listen(&self, mut hear: impl FnMut(&[TurnId]) -> bool) -> Result<(), StoreError> {
        let Db::Postgres(pools) = &*self.db else {
            return Err(StoreError::Refused("there is no other instance".to_owned()));
        };
        let url = match self.listen_url.is_empty() {
            false => &self.listen_url,
            true if pools.is_pooled() => {
                let why = "a pooler stands between; DATABASE_LISTEN_URL can lead past it";
                return Err(StoreError::Refused(why.to_owned()));
            }
            true => &self.url,
        };
        let mut conn = PgConnection::establish(&connect::postgres_url(url.reveal()))
            .map_err(|error| StoreError::Away(error.to_string()))?;
        conn.batch_execute(&format!("listen {CHANNEL}"))?;
        let hint = format!("notify {CHANNEL}, '{}'", TurnId::new());
        pools
            .write
            .run_blocking(|conn| Ok(conn.batch_execute(&hint)?))?;
        loop {
            for hint in conn.notifications_iter() {
                let turns = hint?.payload;
                let turns: Vec<_> = turns.split(',').filter_map(|id| id.parse().ok()).collect();
                if !hear(&turns) {
                    return Ok(());
                }
            }
            if !hear(&[]) {
                return Ok(());
            }
            sleep(LISTEN_POLL_INTERVAL);
        }
    }
}
