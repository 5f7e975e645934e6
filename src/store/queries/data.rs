//! All that is kept of a visitor. Compiled once for each database.

use diesel::prelude::*;

use super::dialect::{Conn, write_tx};
use crate::store::{
    DeviceId, StoreError,
    data::{Conversation, PersonalData, User},
    messages::Message,
    schema::{conversations, messages, session_locks, users},
};

pub fn export(conn: &mut Conn, handle: &str) -> QueryResult<Option<PersonalData>> {
    let user = users::table
        .filter(users::phone_number.eq(handle))
        .select(User::as_select())
        .first(conn)
        .optional()?;
    let Some(user) = user else {
        return Ok(None);
    };
    let of_user: Vec<Conversation> = conversations::table
        .filter(conversations::user_id.eq(user.id))
        .order(conversations::created_at)
        .select(Conversation::as_select())
        .load(conn)?;
    let mut all = Vec::with_capacity(of_user.len());
    for conversation in of_user {
        let said: Vec<Message> = messages::table
            .filter(messages::conversation_id.eq(conversation.id))
            .order(messages::seq)
            .select(Message::as_select())
            .load(conn)?;
        all.push((conversation, said));
    }
    Ok(Some(PersonalData {
        user,
        conversations: all,
    }))
}

/// The lock's row first, as everywhere; the rest goes with the user.
pub fn erase(conn: &mut Conn, device: &DeviceId) -> Result<bool, StoreError> {
    write_tx(conn, |conn| {
        let lock = session_locks::table.filter(session_locks::device_id.eq(device.as_str()));
        let locks = diesel::delete(lock).execute(conn)?;
        let user = users::table.filter(users::phone_number.eq(device.handle()));
        let users = diesel::delete(user).execute(conn)?;
        Ok(locks + users > 0)
    })
}
