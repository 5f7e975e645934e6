//! The people at the desk: who is there, what waits for them, and what they hold.

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

/// Somebody at the desk.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::experts, check_for_backend(Pg, Sqlite))]
pub struct Expert {
    /// Their id.
    pub id: ExpertId,
    /// Who they are, as their tokens call them.
    pub sub: String,
    /// What visitors read.
    pub name: Option<String>,
    /// Whether conversations are given to them.
    pub available: bool,
    /// What they know, an array of words.
    #[diesel(deserialize_as = JsonColumn)]
    pub skills: Value,
}

/// What somebody says of themselves; none leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    /// Whether conversations are given to them.
    pub available: Option<bool>,
    /// What they know.
    pub skills: Option<Vec<String>>,
    /// What visitors read.
    pub name: Option<String>,
}

/// What somebody at the desk may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// What waits, and what they hold.
    Own(ExpertId),
    /// All.
    All,
}

/// What the desk has to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbox {
    /// The conversations that wait for somebody, the longest first; those that are held, what was said last
    /// first; and those that agents are answering.
    pub conversations: Vec<Conversation>,
    /// How many evaluations wait for somebody to look at them; a lot is not counted to its end.
    pub to_review: i64,
}

/// How many conversations a desk shows at the most that wait, and how many that are held.
const CASES: u32 = 500;
/// How many that agents are answering.
const ANSWERED: usize = 100;

impl Store {
    /// Somebody at the desk, known from now on; with what they say of themselves.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expert(&self, sub: &str, presence: Presence) -> Result<Expert, StoreError> {
        let (sub, new) = (sub.to_owned(), ExpertId::new());
        on_db!(self, write, |conn, db| db::experts::known(
            conn, new, &sub, &presence
        ))
    }

    /// The people at the desk, each with whether they are there at this moment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn team(&self) -> Result<Vec<(Expert, bool)>, StoreError> {
        on_db!(self, read, |conn, db| db::experts::team(conn)
            .map_err(Into::into))
    }

    /// What waits for somebody, the longest first, and what this expert holds.
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

    /// All that waits for somebody, is held, or is being answered.
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

    /// A turn of a conversation that the desk may see: whose it is, to read it.
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

    /// The newest messages of a conversation that the desk may see, or the newest before one of them, by
    /// somebody whose reading is kept.
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

    /// What an agent would be told of a conversation that the desk may see, with so many messages, for
    /// somebody whose asking is kept.
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

    /// A conversation that the desk may see, by somebody whose looking is kept.
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
