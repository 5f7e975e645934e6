//! What judges said of answers, and what people made of it.

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

/// How much of each text a list has, in characters: twice what a visitor may say at once.
pub const BRIEF: i32 = 20_000;

/// An answer that is to be judged.
#[derive(Debug, Clone)]
pub struct ToJudge {
    /// The answer.
    pub answer: Message,
    /// What its turn showed beside it, as text.
    pub shown: Vec<String>,
    /// What was said before, oldest first.
    pub history: Vec<Message>,
    /// The judges who have judged it already.
    pub judged_by: Vec<String>,
}

/// What a judge said of an answer.
#[derive(Debug, Clone)]
pub struct NewEvaluation {
    /// Where it was given.
    pub conversation_id: ConversationId,
    /// The answer.
    pub message_id: MessageId,
    /// The judge.
    pub judge: String,
    /// What was judged.
    pub criterion: &'static str,
    /// What came of it.
    pub status: EvaluationStatus,
    /// How well it does, from 0 to 1.
    pub score: Option<f64>,
    /// Why.
    pub reason: String,
    /// What the judge read and wrote, in tokens.
    pub usage: (i64, i64),
    /// By which jobs people outside are told, where it does not pass.
    pub notify: Vec<&'static str>,
}

/// What a judge said of an answer, and what came of it.
#[derive(Debug, Clone, Queryable)]
pub struct Evaluation {
    /// Its id; they are in the order of their making.
    pub id: EvaluationId,
    /// Where the answer was given.
    pub conversation_id: ConversationId,
    /// The answer.
    pub message_id: MessageId,
    /// The answer's turn.
    pub turn_id: Option<TurnId>,
    /// The judge.
    pub judge: String,
    /// What was judged.
    pub criterion: String,
    /// What came of it.
    pub status: EvaluationStatus,
    /// How well it does, from 0 to 1.
    pub score: Option<f64>,
    /// Why.
    pub reason: String,
    /// When.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// What somebody made of it.
    pub verdict: Option<Verdict>,
    /// Who, as their tokens call them.
    pub reviewed_by: Option<String>,
    /// When.
    #[diesel(deserialize_as = OptionalTime)]
    pub reviewed_at: Option<Timestamp>,
    /// What was answered.
    pub answer: String,
    /// The same, where it was withdrawn since.
    pub retracted: Option<String>,
}

/// What was said around an answer, in its turn.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// What the visitor had said.
    pub asked: Vec<String>,
    /// What was shown beside the answer, as text; withdrawn or not.
    pub shown: Vec<String>,
}

/// A page of what judges said.
#[derive(Debug, Clone)]
pub struct EvaluationPage {
    /// The newest first.
    pub evaluations: Vec<(Evaluation, Around)>,
    /// How many there are in all.
    pub total: i64,
}

/// What somebody makes of an answer.
#[derive(Debug, Clone)]
pub struct Reviewing {
    /// What a judge said of it.
    pub evaluation: EvaluationId,
    /// What they make of it.
    pub verdict: Verdict,
    /// Who.
    pub expert: ExpertId,
    /// The same, for the audit.
    pub actor: Actor,
    /// What the visitor reads where it is withdrawn.
    pub line: SystemMessage,
    /// What is said instead.
    pub instead: Option<(MessageId, String)>,
}

/// What became of a [`Reviewing`].
#[derive(Debug)]
pub enum Reviewed {
    /// It is done.
    Done(Box<Evaluation>),
    /// Somebody was faster, or it needs none.
    Before,
    /// Somebody else has the conversation, and says what is right.
    Another,
    /// There is no such evaluation.
    None,
}

impl Store {
    /// An answer with what was said before, and who has judged it; none once it is gone or withdrawn.
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

    /// Keeps what a judge said, and lets people outside be told where it is no good. The same once more is
    /// not kept twice.
    ///
    /// # Errors
    /// When the database fails; then nothing is kept.
    pub async fn evaluated(&self, new: NewEvaluation) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::evaluations::add(conn, &new))
    }

    /// A page of what judges said, the newest first; that somebody reads it is kept.
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

    /// Somebody has looked at an answer: what judges said of it is settled, and it stands or is withdrawn.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn review(&self, reviewing: Reviewing) -> Result<Reviewed, StoreError> {
        on_db!(self, write, |conn, db| db::evaluations::review(
            conn, &reviewing
        ))
    }

    /// A job is given up, with what its answer's judges could not say.
    ///
    /// # Errors
    /// When the database fails; then it is tried once more when its lease is over.
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
