//! Idempotency keys: a repeated request finds the turn of the first one. A key expires after [`KEY_LIFETIME`]. Compiled
//! once for each database.

use std::time::Duration;

use diesel::prelude::*;

use super::dialect::Conn;
use crate::store::{
    Owner, TurnId,
    begin::{Begin, Idempotency},
    error::Abort,
    milliseconds,
    schema::{db_now_plus, turns},
};

/// How long an idempotency key is valid.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Aborts if a key is taken. A key older than [`KEY_LIFETIME`] is freed.
pub fn check_key(conn: &mut Conn, device: &Owner, key: &Idempotency) -> Result<(), Abort<Begin>> {
    match keyed(conn, device, key)? {
        None => Ok(()),
        Some(keyed) if keyed.is_fresh => Err(Abort::With(keyed.outcome(key))),
        Some(keyed) => {
            let old = turns::table.filter(turns::id.eq(keyed.id));
            diesel::update(old)
                .set(turns::idempotency_key.eq(None::<String>))
                .execute(conn)?;
            Ok(())
        }
    }
}

/// The outcome of an earlier request with this key, if the key is still valid.
pub fn known(conn: &mut Conn, device: &Owner, key: &Idempotency) -> QueryResult<Option<Begin>> {
    let keyed = keyed(conn, device, key)?.filter(|keyed| keyed.is_fresh);
    Ok(keyed.map(|keyed| keyed.outcome(key)))
}

/// The turn that a key belongs to.
#[derive(Queryable)]
struct Keyed {
    id: TurnId,
    request_hash: Option<Vec<u8>>,
    merged_into: Option<TurnId>,
    is_fresh: bool,
}

impl Keyed {
    fn outcome(self, key: &Idempotency) -> Begin {
        match self.merged_into {
            _ if self.request_hash.as_ref() != Some(&key.request_hash) => Begin::KeyReused,
            Some(later) => Begin::Merged(later),
            None => Begin::Repeated(self.id),
        }
    }
}

fn keyed(conn: &mut Conn, device: &Owner, key: &Idempotency) -> QueryResult<Option<Keyed>> {
    let of_device = || {
        turns::table
            .filter(turns::device_id.eq(device.as_str()))
            .select((
                turns::id,
                turns::request_hash,
                turns::merged_into,
                turns::started_at.gt(db_now_plus(-milliseconds(KEY_LIFETIME))),
            ))
    };
    let by_key = of_device()
        .filter(turns::idempotency_key.eq(&key.key))
        .first(conn)
        .optional()?;
    match (by_key, key.turn()) {
        (None, Some(turn)) => of_device()
            .filter(turns::id.eq(turn))
            .filter(turns::idempotency_key.is_null())
            .first(conn)
            .optional(),
        (by_key, _) => Ok(by_key),
    }
}
