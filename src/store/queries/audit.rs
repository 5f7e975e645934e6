//! The audit log. Compiled once for each database.

use diesel::prelude::*;

use super::dialect::Conn;
use crate::store::{
    AuditId, ConversationId,
    audit::{Actor, AuditEntry},
    schema::{audit_log, db_now},
};

/// Must run in the transaction of the action that it records.
pub fn write(conn: &mut Conn, actor: &Actor, of: ConversationId) -> QueryResult<usize> {
    write_each(conn, actor, [Some(of)])
}

/// Writes one entry per conversation, or a single one without a conversation if the list is empty.
pub fn write_all(conn: &mut Conn, actor: &Actor, of: &[ConversationId]) -> QueryResult<usize> {
    match of.is_empty() {
        true => write_each(conn, actor, [None]),
        false => write_each(conn, actor, of.iter().copied().map(Some)),
    }
}

fn write_each(
    conn: &mut Conn,
    actor: &Actor,
    of: impl IntoIterator<Item = Option<ConversationId>>,
) -> QueryResult<usize> {
    let entries = of.into_iter().map(|of| {
        (
            audit_log::id.eq(AuditId::new()),
            audit_log::at.eq(db_now()),
            audit_log::actor.eq(&actor.sub),
            audit_log::role.eq(actor.role),
            audit_log::action.eq(actor.action),
            audit_log::conversation_id.eq(of),
        )
    });
    diesel::insert_into(audit_log::table)
        .values(entries.collect::<Vec<_>>())
        .execute(conn)
}

pub fn newest(
    conn: &mut Conn,
    of: Option<ConversationId>,
    before: Option<AuditId>,
    limit: i64,
) -> QueryResult<Vec<AuditEntry>> {
    let mut found = audit_log::table
        .order(audit_log::id.desc())
        .limit(limit)
        .select(AuditEntry::as_select())
        .into_boxed();
    if let Some(of) = of {
        found = found.filter(audit_log::conversation_id.eq(of));
    }
    if let Some(before) = before {
        found = found.filter(audit_log::id.lt(before));
    }
    found.load(conn)
}
