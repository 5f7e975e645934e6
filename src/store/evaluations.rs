//! Evaluations: what judges say about answers, and the experts' reviews of them.

use diesel::Queryable;

use super::{
    ConversationId, EvaluationId, ExpertId, MessageId, Store, StoreError, TurnId,
    audit::Actor,
    jobs::Job,
    messages::{Message, SystemMessage},
    on_db,
    types::{OptionalTime, SqlTime},
};
use crate::clock::Timestamp;

pub use super::enums::{EvaluationStatus, Verdict};

/// Maximum length of each text in a list, in characters: twice the maximum of a visitor's message.
pub const BRIEF: i32 = 20_000;

/// An answer to judge.
#[derive(Debug, Clone)]
pub struct ToJudge {
    /// The answer.
    pub answer: Message,
    /// The widgets that its turn showed after it, as text.
    pub shown: Vec<String>,
    /// The messages before the answer, oldest first.
    pub history: Vec<Message>,
    /// The judges that have already judged it.
    pub judged_by: Vec<String>,
}

/// A judge's evaluation of an answer, to store.
#[derive(Debug, Clone)]
pub struct NewEvaluation {
    /// The answer's conversation.
    pub conversation_id: ConversationId,
    /// The answer.
    pub message_id: MessageId,
    /// The judge.
    pub judge: String,
    /// The criterion it was judged by.
    pub criterion: &'static str,
    /// The result.
    pub status: EvaluationStatus,
    /// The score, from 0 (worst) to 1.
    pub score: Option<f64>,
    /// The judge's reason.
    pub reason: String,
    /// The judge's input and output tokens.
    pub usage: (i64, i64),
    /// The kinds of the jobs that send notifications when the answer does not pass.
    pub notify: Vec<&'static str>,
}

/// A judge's evaluation of an answer, and its review.
#[derive(Debug, Clone, Queryable)]
pub struct Evaluation {
    /// Its id; ids sort by creation time.
    pub id: EvaluationId,
    /// The answer's conversation.
    pub conversation_id: ConversationId,
    /// The answer.
    pub message_id: MessageId,
    /// The answer's turn.
    pub turn_id: Option<TurnId>,
    /// The judge.
    pub judge: String,
    /// The criterion it was judged by.
    pub criterion: String,
    /// The current status.
    pub status: EvaluationStatus,
    /// The score, from 0 (worst) to 1.
    pub score: Option<f64>,
    /// The judge's reason.
    pub reason: String,
    /// When the judge gave it.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// The reviewer's verdict.
    pub verdict: Option<Verdict>,
    /// The `sub` of the reviewer's token.
    pub reviewed_by: Option<String>,
    /// When it was reviewed.
    #[diesel(deserialize_as = OptionalTime)]
    pub reviewed_at: Option<Timestamp>,
    /// The answer's text; empty once the answer is withdrawn.
    pub answer: String,
    /// The answer's text before it was withdrawn; none if it was not.
    pub retracted: Option<String>,
}

/// The other texts of an answer's turn.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The visitor's messages.
    pub asked: Vec<String>,
    /// What else the turn showed, as text, even if it was withdrawn.
    pub shown: Vec<String>,
}

/// A page of evaluations.
#[derive(Debug, Clone)]
pub struct EvaluationPage {
    /// The evaluations, newest first.
    pub evaluations: Vec<(Evaluation, Around)>,
    /// The total number on all pages.
    pub total: i64,
}

/// An expert's review of an answer.
#[derive(Debug, Clone)]
pub struct Reviewing {
    /// The evaluation that is reviewed.
    pub evaluation: EvaluationId,
    /// The verdict.
    pub verdict: Verdict,
    /// The reviewer.
    pub expert: ExpertId,
    /// The same person, for the audit.
    pub actor: Actor,
    /// What the visitor reads if the answer is withdrawn.
    pub line: SystemMessage,
    /// The id and text of the message that replaces the answer.
    pub instead: Option<(MessageId, String)>,
}

/// The outcome of a [`Reviewing`].
#[derive(Debug)]
pub enum Reviewed {
    /// The review is stored.
    Done(Box<Evaluation>),
    /// The evaluation was already reviewed, or passed and needs no review.
    Before,
    /// A correction is not allowed: another expert has claimed the conversation.
    Another,
    /// The evaluation does not exist.
    None,
}

impl Store {
    /// An answer with the messages before it and its judges so far; none if it was deleted or withdrawn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_judge(
        &self,
        answer: MessageId,
        history: u32,
    ) -> Result<Option<ToJudge>, StoreError> {
        on_db!(self, read, |conn, db| db::evaluations::to_judge(
            conn,
            answer,
            history.into()
        )
        .map_err(Into::into))
    }

    /// Stores an evaluation, and adds the notification jobs if the answer did not pass. Each judge's
    /// evaluation of an answer is stored only once.
    ///
    /// # Errors
    /// When the database fails; then nothing is stored.
    pub async fn evaluated(&self, new: NewEvaluation) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::evaluations::add(conn, &new))
    }

    /// A page of evaluations, newest first. The read is recorded in the audit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn evaluations(
        &self,
        status: EvaluationStatus,
        (page, per_page): (u32, u32),
        actor: Actor,
    ) -> Result<EvaluationPage, StoreError> {
        let skipped = i64::from(page.saturating_sub(1)) * i64::from(per_page);
        on_db!(self, write, |conn, db| db::evaluations::page(
            conn,
            status,
            (per_page.into(), skipped),
            &actor
        ))
    }

    /// Stores a review: it settles all open evaluations of the answer, which stays or is withdrawn.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn review(&self, reviewing: Reviewing) -> Result<Reviewed, StoreError> {
        on_db!(self, write, |conn, db| db::evaluations::review(
            conn, &reviewing
        ))
    }

    /// Gives up a judging job, and stores the evaluations that stay undecided.
    ///
    /// # Errors
    /// When the database fails; then the job is tried again when its lease expires.
    pub async fn judging_failed(
        &self,
        job: Job,
        error: String,
        undecided: Vec<NewEvaluation>,
    ) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::evaluations::give_up(
            conn, &job, &error, &undecided
        ))
    }
}
