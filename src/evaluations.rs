//! Evaluations: what judges say about given answers, and how experts review it.
//!
//! A turn that ends creates a job for the judges of its answer ([`crate::store::jobs::Judging`]), in the same
//! transaction. If the answer fails, a notification is sent and the answer waits for an expert, who approves, retracts
//! or corrects it.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    config::{Criterion, Settings},
    error::{Code, Error, Result},
    experts::Person,
    hub::{Hub, LiveConversations},
    judges::{Judgement, Judges, Submission, said},
    metrics::Metrics,
    store::{
        EvaluationId, MessageId, Store, StoreError,
        evaluations::{
            Evaluation, EvaluationPage, EvaluationStatus, NewEvaluation, Reviewed, Reviewing,
            ToJudge, Verdict,
        },
        jobs::{Job, Judging},
    },
};

/// The reason that is stored when a judge could not be asked.
const UNDECIDED: &str = "The judge could not be asked.";
/// How much of the history before the answer judges read: messages, and bytes of them.
const HISTORY_MESSAGES: u32 = 30;
const READ: usize = 64 * 1024;

/// Has answers judged, and lets experts review them.
pub struct Evaluations {
    store: Store,
    judges: Arc<Judges>,
    hub: Arc<Hub<LiveConversations>>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
}

impl Evaluations {
    /// The evaluations of a server.
    pub fn new(
        store: Store,
        judges: Arc<Judges>,
        hub: Arc<Hub<LiveConversations>>,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            judges,
            hub,
            settings,
            metrics,
        }
    }

    /// Asks all judges of an answer that have not judged it yet, concurrently, and stores what they say.
    ///
    /// # Errors
    /// Why one of them could not be asked, for the log. What the others said is stored.
    pub async fn judge(&self, job: &Job) -> std::result::Result<(), String> {
        let judging = parsed(job)?;
        let left = self.left(judging).await;
        let Some((judging, to_judge)) = left.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let answer = std::iter::once(&to_judge.answer.body).chain(&to_judge.shown);
        let submission = Submission {
            conversation_id: Some(to_judge.answer.conversation_id),
            message_id: Some(judging.message_id),
            agent: judging.agent,
            history: said(&to_judge.history, READ),
            passed: String::new(),
            answer: answer.map(String::as_str).collect::<Vec<_>>().join("\n"),
        };
        let asked = judging.judges.iter();
        let asked = asked.map(|judge| self.ask(judge, &submission, &to_judge));
        join_all(asked).await.into_iter().collect()
    }

    /// The answer, and the judges that have not judged it yet. `None` if the answer is gone or retracted.
    async fn left(
        &self,
        mut judging: Judging,
    ) -> std::result::Result<Option<(Judging, ToJudge)>, StoreError> {
        let to_judge = self
            .store
            .to_judge(judging.message_id, HISTORY_MESSAGES)
            .await?;
        let Some(to_judge) = to_judge else {
            return Ok(None);
        };
        let is_left = |judge: &String| !to_judge.judged_by.contains(judge);
        judging.judges.retain(is_left);
        Ok(Some((judging, to_judge)))
    }

    async fn ask(
        &self,
        judge: &str,
        submission: &Submission,
        to_judge: &ToJudge,
    ) -> std::result::Result<(), String> {
        let judgement = self.judges.judge(judge, submission).await;
        let judgement = judgement.map_err(|error| format!("{judge}: {error}"))?;
        // Another instance may know this judge: instances get new settings one after the other.
        let judgement = judgement.ok_or_else(|| format!("{judge} is none of the judges"))?;
        let new = self.evaluation(judge, to_judge, judgement.criterion, Some(judgement));
        let status = new.status;
        let kept = self.store.evaluated(new).await;
        kept.map_err(|error| error.to_string())?;
        self.metrics.evaluation(status.as_str());
        Ok(())
    }

    /// Gives up a job after its last attempt: the missing judges are stored as undecided, so that an expert looks at
    /// the answer.
    ///
    /// # Errors
    /// When the database fails. Then the job is tried once more.
    pub async fn give_up(&self, job: Job, error: String) -> std::result::Result<(), StoreError> {
        let left = match parsed(&job) {
            Ok(judging) => self.left(judging).await?,
            Err(_) => None,
        };
        let undecided = left.map(|(judging, to_judge)| {
            let judges = judging.judges.iter();
            let undecided = judges.filter_map(|judge| {
                let criterion = self.judges.criterion(judge)?;
                Some(self.evaluation(judge, &to_judge, criterion, None))
            });
            undecided.collect::<Vec<_>>()
        });
        let undecided = undecided.unwrap_or_default();
        let statuses: Vec<_> = undecided.iter().map(|new| new.status).collect();
        self.store.judging_failed(job, error, undecided).await?;
        for status in statuses {
            self.metrics.evaluation(status.as_str());
        }
        Ok(())
    }

    /// The evaluation to store. Without a judgement the judge could not be asked.
    fn evaluation(
        &self,
        judge: &str,
        to_judge: &ToJudge,
        criterion: Criterion,
        said: Option<Judgement>,
    ) -> NewEvaluation {
        let count = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
        let status = match &said {
            Some(said) if said.passed => EvaluationStatus::Passed,
            Some(_) => EvaluationStatus::Failed,
            None => EvaluationStatus::Undecided,
        };
        let usage = said.as_ref().map(|said| said.usage).unwrap_or_default();
        NewEvaluation {
            conversation_id: to_judge.answer.conversation_id,
            message_id: to_judge.answer.id,
            judge: judge.to_owned(),
            criterion: criterion.as_str(),
            status,
            score: said.as_ref().map(|said| said.score),
            reason: said.map_or_else(|| UNDECIDED.to_owned(), |said| said.reason),
            usage: (count(usage.input), count(usage.output)),
            notify: self.settings.notify.kinds(),
        }
    }

    /// A page of evaluations, the newest first, each with the visitor's question. Only admins see evaluations that need
    /// no review.
    ///
    /// # Errors
    /// `forbidden` for evaluations that they may not see; when the database fails.
    pub async fn list(
        &self,
        person: &Person,
        status: EvaluationStatus,
        page: (u32, u32),
    ) -> Result<EvaluationPage> {
        let is_work = matches!(
            status,
            EvaluationStatus::Failed | EvaluationStatus::Undecided
        );
        if !is_work && !person.sees_all() {
            return Err(Error::new(Code::Forbidden));
        }
        let actor = person.actor("read_evaluations");
        Ok(self.store.evaluations(status, page, actor).await?)
    }

    /// Stores an expert's verdict on an answer. If they correct the answer, `instead` is sent as their message.
    ///
    /// # Errors
    /// `already_reviewed` if another expert was faster or the answer had passed; `already_claimed` if it is corrected
    /// in a conversation that another expert has; `not_found`.
    pub async fn review(
        &self,
        person: &Person,
        evaluation: EvaluationId,
        verdict: Verdict,
        instead: Option<String>,
    ) -> Result<Evaluation> {
        let experts = &self.settings.experts;
        let line = match verdict {
            Verdict::Correct => &experts.corrected,
            Verdict::Approve | Verdict::Retract => &experts.retracted,
        };
        let reviewing = Reviewing {
            evaluation,
            verdict,
            expert: person.expert_id(),
            actor: person.actor(verdict.as_str()),
            line: person.line(line, None),
            instead: instead.map(|instead| (MessageId::new(), instead)),
        };
        match self.store.review(reviewing).await? {
            Reviewed::Done(evaluation) => {
                self.hub.hint();
                Ok(*evaluation)
            }
            Reviewed::Before => Err(Error::new(Code::AlreadyReviewed)),
            Reviewed::Another => Err(Error::new(Code::AlreadyClaimed)),
            Reviewed::None => Err(Error::new(Code::NotFound)),
        }
    }
}

fn parsed(job: &Job) -> std::result::Result<Judging, String> {
    serde_json::from_value(job.payload.clone()).map_err(|error| error.to_string())
}
