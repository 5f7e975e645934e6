//! Claims, releases and transfers of conversations by experts, and the messages that experts write.
//!
//! Each is one transaction under the lock of the conversation's row. So no two experts have one conversation,
//! and a running answer is cut at its last stored frame, before anything the expert writes.

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

/// An expert's request to claim a conversation.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The conversation.
    pub conversation: ConversationId,
    /// The expert who claims it.
    pub expert: ExpertId,
    /// The same expert, for the audit.
    pub actor: Actor,
    /// What the visitor reads.
    pub line: SystemMessage,
    /// How long to keep the log of an answer that the claim stops.
    pub log_kept: Duration,
    /// The current time.
    pub now: Timestamp,
    /// Truncates a running answer to its stored frames.
    pub truncate: fn(PartialAnswer) -> TruncatedAnswer,
}

/// An unfinished answer that a claim stops.
#[derive(Debug)]
pub struct PartialAnswer {
    /// The answer's turn.
    pub turn_id: TurnId,
    /// The attempt.
    pub attempt: Attempt,
    /// The stored segments of the attempt's log.
    pub pieces: Vec<LogSegment>,
    /// The turn's messages: the visitor's, and its tool calls and results.
    pub said: Vec<Message>,
    /// The id of the message that stores the truncated answer.
    pub message_id: MessageId,
    /// The current time.
    pub now: Timestamp,
}

/// What is kept of a [`PartialAnswer`].
#[derive(Debug)]
pub struct TruncatedAnswer {
    /// How many frames are kept.
    pub keep: FrameSeq,
    /// The text of these frames.
    pub answer: Option<AnswerMessage>,
    /// The widgets of these frames.
    pub widgets: Vec<WidgetMessage>,
    /// The stored records and a final one, a line of JSON each.
    pub records: Vec<u8>,
    /// The final record's number in the stored log.
    pub last_seq: FrameSeq,
}

/// The outcome of a [`Claim`] or a [`Release`].
#[derive(Debug)]
pub enum ClaimOutcome {
    /// Done: the conversation, and the turn that the claim ended.
    Done(Box<Conversation>, Option<TurnId>),
    /// Another expert has the conversation.
    Another,
    /// The conversation does not exist, or this expert has not claimed it and so cannot release it.
    None,
}

/// A request to release a claimed conversation.
#[derive(Debug, Clone)]
pub struct Release {
    /// The conversation.
    pub conversation: ConversationId,
    /// The expert who must have claimed it; none accepts any expert.
    pub expert: Option<ExpertId>,
    /// Who releases it, for the audit.
    pub actor: Actor,
    /// Where it goes.
    pub to: ReleaseTo,
    /// The kinds of the jobs that send notifications when the conversation goes into the queue.
    pub notify: Vec<&'static str>,
}

/// Where a released conversation goes.
#[derive(Debug, Clone)]
pub enum ReleaseTo {
    /// Back to the agents. Holds what the visitor reads.
    Agents(SystemMessage),
    /// It is resolved; agents answer if the visitor writes again. Holds what the visitor reads.
    Settled(SystemMessage),
    /// Into the queue, assigned to this colleague or else to an available expert, if possible with this skill.
    Queue {
        /// The colleague.
        colleague: Option<ExpertId>,
        /// The skill.
        skill: Option<String>,
        /// What the visitor reads.
        told: QueueNotice,
    },
}

/// A message from an expert to a visitor.
#[derive(Debug, Clone)]
pub struct ExpertMessage {
    /// The conversation.
    pub conversation: ConversationId,
    /// The recipient: the conversation must be theirs.
    pub user: UserId,
    /// The author.
    pub expert: ExpertId,
    /// The same expert, for the audit.
    pub actor: Actor,
    /// The message's id. If it already exists, nothing is written again.
    pub id: MessageId,
    /// The text.
    pub body: String,
}

/// The outcome of an [`ExpertMessage`].
#[derive(Debug)]
pub enum ExpertMessageOutcome {
    /// The message is stored, now or by an earlier try.
    Done(Box<Message>),
    /// A message with this id and another text exists.
    Reused,
    /// Another expert has claimed the conversation.
    Another,
    /// The conversation does not exist, or is another user's.
    None,
}

impl Store {
    /// Claims a conversation for an expert. A running answer stops at its last stored frame.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, StoreError> {
        on_db!(self, write, |conn, db| db::assignments::claim(conn, &claim))
    }

    /// Releases a conversation.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn release(&self, release: Release) -> Result<ClaimOutcome, StoreError> {
        on_db!(self, write, |conn, db| db::assignments::release(
            conn, &release
        ))
    }

    /// Writes a message as an expert.
    ///
    /// # Errors
    /// When the database fails; then nothing is stored.
    pub async fn write_as_expert(
        &self,
        write: ExpertMessage,
    ) -> Result<ExpertMessageOutcome, StoreError> {
        on_db!(self, write, |conn, db| db::assignments::write(conn, &write))
    }
}
