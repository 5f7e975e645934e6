//! Columns of a conversation that several queries read. Compiled once for each database.

use diesel::prelude::*;
use serde_json::Value;

use crate::store::{
    ConversationId, Fence, MessageSeq, UserId, schema::conversations, sessions::Mode,
    types::JsonColumn,
};

/// What a turn needs of its conversation.
#[derive(Queryable, Selectable)]
#[diesel(table_name = conversations)]
pub struct ConversationState {
    pub id: ConversationId,
    pub user_id: UserId,
    pub fence: Fence,
    pub last_seq: MessageSeq,
    pub agent_path: Option<String>,
    pub mode: Mode,
    #[diesel(deserialize_as = JsonColumn)]
    pub state: Value,
    pub context: Option<JsonColumn>,
}

/// The columns of a [`Conversation`](crate::store::conversations::Conversation). `brief`, for lists: only the first
/// 500 characters of its first message.
macro_rules! columns {
    () => {
        columns!(conversations::user_input)
    };
    (brief) => {
        columns!($crate::store::schema::substr(
            conversations::user_input,
            1,
            500
        ))
    };
    ($user_input:expr) => {
        (
            conversations::id,
            conversations::user_id,
            conversations::title,
            $user_input,
            conversations::agent_path,
            conversations::mode,
            conversations::status,
            conversations::expert_id,
            conversations::assigned_to,
            conversations::waiting_since,
            conversations::reason,
            conversations::skill,
            turns::table
                .filter(turns::conversation_id.eq(conversations::id))
                .filter(turns::merged_into.is_null())
                .count()
                .single_value()
                .assume_not_null(),
            conversations::last_seq,
            conversations::created_at,
            conversations::updated_at,
        )
    };
}
pub(super) use columns;
