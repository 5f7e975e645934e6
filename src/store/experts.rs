//! The experts: who is available, the queue, the conversations they have claimed, and what they may see.

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde_json::Value;

use super::{
    ConversationId, ExpertId, MessageId, Owner, Store, StoreError, TurnId,
    audit::Actor,
    conversations::{AgentView, Conversation},
    messages::Paged,
    on_db, schema,
    types::JsonColumn,
};

/// An expert.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::experts, check_for_backend(Pg, Sqlite))]
pub struct Expert {
    /// Their id.
    pub id: ExpertId,
    /// The `sub` of their token.
    pub sub: String,
    /// The name that visitors see.
    pub name: Option<String>,
    /// Whether they accept new conversations.
    pub available: bool,
    /// Their skills, an array of strings.
    #[diesel(deserialize_as = JsonColumn)]
    pub skills: Value,
}

/// What an expert sets about themselves; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    /// Whether they accept new conversations.
    pub available: Option<bool>,
    /// Their skills.
    pub skills: Option<Vec<String>>,
    /// The name that visitors see.
    pub name: Option<String>,
}

/// Which conversations a person at the desk may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Those that wait for an expert, and those that this expert has claimed.
    Own(ExpertId),
    /// All conversations.
    All,
}

/// The desk's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbox {
    /// Waiting conversations, longest wait first; then claimed ones, last changed first; then those that
    /// agents are answering, newest first.
    pub conversations: Vec<Conversation>,
    /// How many evaluations wait for a review; counting stops at 100.
    pub to_review: i64,
}

/// Maximum number of waiting conversations that the desk shows, and of claimed ones.
const CASES: u32 = 500;
/// Maximum number of conversations shown that agents are answering.
const ANSWERED: usize = 100;

impl Store {
    /// Stores an expert, or updates an existing one and the time they were last seen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expert(&self, sub: &str, presence: Presence) -> Result<Expert, StoreError> {
        let (sub, new) = (sub.to_owned(), ExpertId::new());
        on_db!(self, write, |conn, db| db::experts::known(
            conn, new, &sub, &presence
        ))
    }

    /// All experts, each with whether they are available and online now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn team(&self) -> Result<Vec<(Expert, bool)>, StoreError> {
        on_db!(self, read, |conn, db| db::experts::team(conn)
            .map_err(Into::into))
    }

    /// The waiting conversations, longest wait first, then the claimed ones that the person may see.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queue(
        &self,
        sight: Visibility,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        on_db!(self, read, |conn, db| db::desk::queue(
            conn,
            sight,
            limit.into()
        )
        .map_err(Into::into))
    }

    /// All conversations that wait, are claimed, or are being answered by agents.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn work(&self) -> Result<Inbox, StoreError> {
        on_db!(self, read, |conn, db| {
            let mut conversations = db::desk::queue(conn, Visibility::All, CASES.into())?;
            conversations.extend(db::desk::answering(conn, ANSWERED)?);
            Ok(Inbox {
                conversations,
                to_review: db::evaluations::to_review(conn)?,
            })
        })
    }

    /// The owner of a turn that the person may see, needed to read the turn. The read is audited.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn turn_for_desk(
        &self,
        sight: Visibility,
        turn: TurnId,
        actor: Actor,
    ) -> Result<Option<Owner>, StoreError> {
        on_db!(self, write, |conn, db| db::desk::turn(
            conn, sight, turn, &actor
        ))
    }

    /// The newest messages of a conversation that the person may see, or the newest ones before the message
    /// `before`. The read is audited.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages_for_desk(
        &self,
        sight: Visibility,
        id: ConversationId,
        actor: Actor,
        (before, limit): (Option<MessageId>, u32),
    ) -> Result<Paged, StoreError> {
        on_db!(self, write, |conn, db| db::desk::messages(
            conn,
            sight,
            id,
            &actor,
            (before, limit.into())
        ))
    }

    /// What an agent sees of a conversation that the person may see, with up to `history` messages. The
    /// read is audited.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn agent_view_for_desk(
        &self,
        sight: Visibility,
        id: ConversationId,
        actor: Actor,
        history: u32,
    ) -> Result<Option<AgentView>, StoreError> {
        on_db!(self, write, |conn, db| db::desk::known_of(
            conn,
            sight,
            id,
            &actor,
            history.into()
        ))
    }

    /// A conversation that the person may see. The read is audited.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn desk_conversation(
        &self,
        sight: Visibility,
        id: ConversationId,
        actor: Actor,
    ) -> Result<Option<Conversation>, StoreError> {
        on_db!(self, write, |conn, db| db::desk::look(
            conn, sight, id, &actor
        ))
    }
}
