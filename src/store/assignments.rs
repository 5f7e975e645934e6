//! Who has a conversation: asked for, taken, given back and passed on, and what people write in it.
//!
//! Each is one transaction under the lock of the conversation's row, so two people never have one, and what
//! a running turn has said by then, and no more, stands before what they write.

use std::time::Duration;

use super::{
    Attempt, ConversationId, ExpertId, FrameSeq, MessageId, Store, StoreError, TurnId, UserId,
    audit::Actor,
    conversations::Conversation,
    logs::LogSegment,
    messages::{Message, SystemMessage},
    on_db,
    queue::QueueNotice,
    turns::{AnswerMessage, WidgetMessage},
};
use crate::clock::Timestamp;

/// A conversation that somebody takes.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Which.
    pub conversation: ConversationId,
    /// Who takes it.
    pub expert: ExpertId,
    /// The same for the audit.
    pub actor: Actor,
    /// What the visitor reads.
    pub line: SystemMessage,
    /// For how long the log of an answer is kept that ends with it.
    pub log_kept: Duration,
    /// Now.
    pub now: Timestamp,
    /// What becomes of an answer that is on its way.
    pub truncate: fn(PartialAnswer) -> TruncatedAnswer,
}

/// An answer that somebody takes over.
#[derive(Debug)]
pub struct PartialAnswer {
    /// Its turn.
    pub turn_id: TurnId,
    /// The attempt.
    pub attempt: Attempt,
    /// What of it is stored.
    pub pieces: Vec<LogSegment>,
    /// Its messages: what was asked, and what its tools did.
    pub said: Vec<Message>,
    /// The id of what is kept of it.
    pub message_id: MessageId,
    /// Now.
    pub now: Timestamp,
}

/// What is kept of it.
#[derive(Debug)]
pub struct TruncatedAnswer {
    /// How many frames.
    pub keep: FrameSeq,
    /// Their text.
    pub answer: Option<AnswerMessage>,
    /// The widgets that they showed.
    pub widgets: Vec<WidgetMessage>,
    /// The records, and the final one.
    pub records: Vec<u8>,
    /// The final record's number in the stored log.
    pub last_seq: FrameSeq,
}

/// What became of taking a conversation, or of giving it away.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// It is done; the turn that ended with it.
    Done(Box<Conversation>, Option<TurnId>),
    /// Somebody else has it.
    Another,
    /// There is no such conversation, or it is not theirs to give away.
    None,
}

/// A conversation that whoever has it gives away.
#[derive(Debug, Clone)]
pub struct Release {
    /// Which.
    pub conversation: ConversationId,
    /// Who has it; none: whoever it is.
    pub expert: Option<ExpertId>,
    /// Who does it, for the audit.
    pub actor: Actor,
    /// To whom.
    pub to: ReleaseTo,
    /// By which jobs people outside are told, where it goes into the queue.
    pub notify: Vec<&'static str>,
}

/// To whom a conversation is given.
#[derive(Debug, Clone)]
pub enum ReleaseTo {
    /// Back to the agents; with what the visitor reads.
    Agents(SystemMessage),
    /// To nobody: it is settled. Whoever writes again is answered by the agents.
    Settled(SystemMessage),
    /// Into the queue, for this colleague first, for whoever knows this.
    Queue {
        /// The colleague.
        colleague: Option<ExpertId>,
        /// What they have to know.
        skill: Option<String>,
        /// What the visitor reads.
        told: QueueNotice,
    },
}

/// A message of somebody at the desk.
#[derive(Debug, Clone)]
pub struct ExpertMessage {
    /// Where.
    pub conversation: ConversationId,
    /// To whom; it has to be theirs.
    pub user: UserId,
    /// Who writes.
    pub expert: ExpertId,
    /// The same for the audit.
    pub actor: Actor,
    /// Its id. One that is there already is not said again.
    pub id: MessageId,
    /// The text.
    pub body: String,
}

/// What became of a [`ExpertMessage`].
#[derive(Debug)]
pub enum ExpertMessageOutcome {
    /// It is said, now or before.
    Done(Box<Message>),
    /// Something else was said under this id.
    Reused,
    /// Somebody else has the conversation.
    Another,
    /// There is no such conversation, or it is of somebody else.
    None,
}

impl Store {
    /// Gives a conversation to a person. An answer that is on its way ends where it is stored.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, StoreError> {
        on_db!(self, write, |conn, db| db::assignments::claim(conn, &claim))
    }

    /// Gives a conversation away.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn release(&self, release: Release) -> Result<ClaimOutcome, StoreError> {
        on_db!(self, write, |conn, db| db::assignments::release(
            conn, &release
        ))
    }

    /// Says something as a person.
    ///
    /// # Errors
    /// When the database fails; then nothing is said.
    pub async fn write_as_expert(
        &self,
        write: ExpertMessage,
    ) -> Result<ExpertMessageOutcome, StoreError> {
        on_db!(self, write, |conn, db| db::assignments::write(conn, &write))
    }
}
