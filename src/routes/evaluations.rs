//! Evaluations: what judges say about answers, for experts to review.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::responses::{NotSignedIn, Refused, Turning};
use super::{
    chat::spoken,
    extract::{Json, PAGES, Query, id, number},
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Error, Result},
    store::{
        ConversationId, EvaluationId, MessageId, TurnId,
        evaluations::{Around, BRIEF, Evaluation, EvaluationStatus, Verdict},
    },
};

/// Maximum evaluations per page.
const PER_PAGE: u32 = 100;

/// A judge's evaluation of an answer.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Evaluation, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e06", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "message_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e03", "turn_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01", "judge": "safety", "criterion": "safety", "status": "failed", "score": 0.2, "reason": "It promises a price.", "question": "How much is it?", "answer": "It costs 12 euros.", "verdict": null, "reviewed_by": null, "reviewed_at": null, "timestamp": "2026-11-20T14:24:19.941641Z"}))]
struct EvaluationOut {
    id: EvaluationId,
    conversation_id: ConversationId,
    message_id: MessageId,
    turn_id: Option<TurnId>,
    judge: String,
    criterion: String,
    status: EvaluationStatus,
    score: Option<f64>,
    reason: String,
    /// The visitor's messages that were answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<String>,
    /// The answer, even if it was withdrawn. In the list, followed by the widgets that were shown with it.
    answer: String,
    verdict: Option<Verdict>,
    reviewed_by: Option<String>,
    reviewed_at: Option<Timestamp>,
    timestamp: Timestamp,
}

impl EvaluationOut {
    fn of(evaluation: Evaluation, around: Option<Around>) -> Self {
        let mut answer = evaluation.retracted.unwrap_or(evaluation.answer);
        let is_brief = around.is_some() && i32::try_from(answer.chars().count()) == Ok(BRIEF);
        if is_brief {
            answer.push_str(" […]");
        }
        let shown = around.iter().flat_map(|around| around.shown.clone());
        let said = std::iter::once(answer).chain(shown);
        Self {
            id: evaluation.id,
            conversation_id: evaluation.conversation_id,
            message_id: evaluation.message_id,
            turn_id: evaluation.turn_id,
            judge: evaluation.judge,
            criterion: evaluation.criterion,
            status: evaluation.status,
            score: evaluation.score,
            reason: evaluation.reason,
            answer: said.collect::<Vec<_>>().join("\n"),
            question: around.map(|around| around.asked.join("\n")),
            verdict: evaluation.verdict,
            reviewed_by: evaluation.reviewed_by,
            reviewed_at: evaluation.reviewed_at,
            timestamp: evaluation.created_at,
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EvaluationList)]
struct EvaluationListOut {
    evaluations: Vec<EvaluationOut>,
    total: i64,
    page: u32,
    per_page: u32,
}

/// `GET /evaluations`: a page of evaluations, newest first; by default the failed ones, which wait for a review.
#[utoipa::path(
    get, path = "/evaluations",
    operation_id = "evaluations_list",
    tag = "experts",
    params(("page" = Option<u32>, Query, minimum = 1, maximum = 1000000, description = "The page number; default 1"), ("per_page" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Evaluations per page; default 20"), ("status" = Option<EvaluationStatus>, Query, description = "Default: failed. Only admins may list passed and reviewed")),
    responses((status = 200, description = "A page of evaluations, newest first", body = EvaluationListOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn list(app: Data<App>, user: User, asked: Query) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let page = number(&asked, "page", 1, PAGES)?;
    let per_page = number(&asked, "per_page", 20, PER_PAGE)?;
    let status = serde_json::from_value(json!(asked.get("status").unwrap_or("failed")));
    let status: EvaluationStatus = status.map_err(|_| {
        let detail = "Must be failed, undecided, passed or reviewed.";
        Error::field("status", detail)
    })?;
    let found = app.evaluations.list(&person, status, (page, per_page));
    let found = found.await?;
    let evaluations = found.evaluations.into_iter();
    Ok(HttpResponse::Ok().json(EvaluationListOut {
        evaluations: evaluations
            .map(|(evaluation, around)| EvaluationOut::of(evaluation, Some(around)))
            .collect(),
        total: found.total,
        page,
        per_page,
    }))
}

/// A review of an evaluation.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = ReviewRequest, example = json!({"verdict": "correct", "content": "It costs 15 euros."}))]
pub(super) struct ReviewIn {
    verdict: Verdict,
    /// The new answer, for the verdict `correct`.
    #[schema(nullable = false, min_length = 1, max_length = 10000)]
    content: Option<String>,
}

/// `POST /evaluations/{id}/review`: approves, withdraws or corrects the evaluated answer.
#[utoipa::path(
    post, path = "/evaluations/{id}/review",
    operation_id = "evaluations_review",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The evaluation")),
    request_body = ReviewIn,
    responses((status = 200, description = "The reviewed evaluation", body = EvaluationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn review(
    app: Data<App>,
    user: User,
    path: Path<String>,
    body: Json<ReviewIn>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let id: EvaluationId = id(&path)?;
    let ReviewIn { verdict, content } = body.0;
    let content = match (content, verdict) {
        (Some(content), Verdict::Correct) => Some(spoken("content", content)?),
        (None, Verdict::Correct) => {
            return Err(Error::field("content", "A correction needs content."));
        }
        (Some(_), Verdict::Approve | Verdict::Retract) => {
            return Err(Error::field(
                "content",
                "Only the verdict correct takes content.",
            ));
        }
        (None, Verdict::Approve | Verdict::Retract) => None,
    };
    let reviewed = app.evaluations.review(&person, id, verdict, content);
    Ok(HttpResponse::Ok().json(EvaluationOut::of(reviewed.await?, None)))
}
