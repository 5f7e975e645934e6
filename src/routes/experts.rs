//! The people at the desk: the queue, and what they do with a conversation.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::responses::{NotSignedIn, Refused, Turning};
use super::{
    extract::{Json, Maybe, Query, checked_skill, count, id, number},
    shapes::DeskConversationOut,
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Error, Result},
    store::{
        AuditId, ConversationId, ExpertId,
        audit::AuditEntry,
        experts::{Expert, Presence},
    },
    text,
    turn::SKILL_CHARACTERS,
};

const NAME_CHARACTERS: usize = 100;
const SKILLS: usize = 50;
const NOTE_CHARACTERS: usize = 2_000;
/// The most entries of a page of the audit.
const ENTRIES: u32 = 200;

/// Somebody at the desk, as they see themselves.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Expert, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e04", "sub": "eva", "name": "Eva", "available": true, "skills": ["orders"]}))]
struct ExpertOut {
    id: ExpertId,
    sub: String,
    name: Option<String>,
    available: bool,
    #[schema(value_type = Vec<String>)]
    skills: Value,
}

impl From<Expert> for ExpertOut {
    fn from(expert: Expert) -> Self {
        Self {
            id: expert.id,
            sub: expert.sub,
            name: expert.name,
            available: expert.available,
            skills: expert.skills,
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Team, example = json!({"experts": [{"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e04", "sub": "eva", "name": "Eva", "available": true, "skills": ["orders"]}]}))]
struct TeamOut {
    /// `available` says who is there at this moment.
    experts: Vec<ExpertOut>,
}

/// What somebody says of themselves.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Presence, example = json!({"available": true, "skills": ["orders"], "name": "Eva"}))]
pub(super) struct PresenceIn {
    available: Option<bool>,
    #[schema(max_items = 50, min_length = 1, max_length = 100)]
    skills: Option<Vec<String>>,
    #[schema(min_length = 1, max_length = 100, pattern = "\\S")]
    name: Option<String>,
}

/// `GET /experts/me`: what is known of whoever is at the desk.
#[utoipa::path(
    get, path = "/experts/me",
    operation_id = "experts_show",
    tag = "experts",
    responses((status = 200, description = "What is known of them", body = ExpertOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn show(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    Ok(HttpResponse::Ok().json(ExpertOut::from(person.into_expert())))
}

/// `GET /experts`: the people at the desk, for whoever passes a conversation on.
#[utoipa::path(
    get, path = "/experts",
    operation_id = "experts_list",
    tag = "experts",
    responses((status = 200, description = "The people at the desk", body = TeamOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn list(app: Data<App>, user: User) -> Result<HttpResponse> {
    app.experts.person(&user).await?;
    let team = app.store.team().await?.into_iter();
    let team = team.map(|(expert, is_there)| ExpertOut {
        available: is_there,
        ..expert.into()
    });
    Ok(HttpResponse::Ok().json(TeamOut {
        experts: team.collect(),
    }))
}

/// `PUT /experts/me`: whether they are there, what they know, how they want to be called.
#[utoipa::path(
    put, path = "/experts/me",
    operation_id = "experts_change",
    tag = "experts",
    request_body = PresenceIn,
    responses((status = 200, description = "What is known of them now", body = ExpertOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn change(
    app: Data<App>,
    user: User,
    body: Json<PresenceIn>,
) -> Result<HttpResponse> {
    let PresenceIn {
        available,
        skills,
        name,
    } = body.0;
    let fits = |word: &str, most| (1..=most).contains(&word.chars().count());
    let name = name.map(|name| text::cleaned(name).trim().to_owned());
    if !name.iter().all(|name| fits(name, NAME_CHARACTERS)) {
        let detail = format!("1 to {NAME_CHARACTERS} characters.");
        return Err(Error::field("name", detail));
    }
    let skills: Option<Vec<String>> =
        skills.map(|skills| skills.into_iter().map(text::cleaned).collect());
    let fit = |skill: &String| fits(skill, SKILL_CHARACTERS);
    if skills
        .as_ref()
        .is_some_and(|skills| skills.len() > SKILLS || !skills.iter().all(fit))
    {
        let detail = format!("At most {SKILLS}, each of 1 to {SKILL_CHARACTERS} characters.");
        return Err(Error::field("skills", detail));
    }
    let presence = Presence {
        available,
        skills,
        name,
    };
    let person = app.experts.present(&user, presence).await?;
    Ok(HttpResponse::Ok().json(ExpertOut::from(person.into_expert())))
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Queue)]
struct QueueOut {
    conversations: Vec<DeskConversationOut>,
}

/// `GET /experts/queue`: what waits, the longest first, and what they hold; of each the beginning of its first
/// message.
#[utoipa::path(
    get, path = "/experts/queue",
    operation_id = "experts_queue",
    tag = "experts",
    responses((status = 200, description = "What waits, the longest first, and what they hold", body = QueueOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn queue(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let queue = app.experts.queue(&person).await?.into_iter();
    Ok(HttpResponse::Ok().json(QueueOut {
        conversations: queue.map(Into::into).collect(),
    }))
}

/// `POST /conversations/{id}/claim`: takes a conversation that nobody else has. An answer on its way ends.
#[utoipa::path(
    post, path = "/conversations/{id}/claim",
    operation_id = "experts_claim",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "It is theirs", body = DeskConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn claim(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let claimed = app.experts.claim(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(DeskConversationOut::from(claimed)))
}

/// What the agents are told when they have a conversation back.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Release, example = json!({"note": "Order 7 was sent again."}))]
pub(super) struct ReleaseIn {
    #[schema(max_length = 2000)]
    note: Option<String>,
}

/// `POST /conversations/{id}/release`: back to the agents.
#[utoipa::path(
    post, path = "/conversations/{id}/release",
    operation_id = "experts_release",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    request_body = Option<ReleaseIn>,
    responses((status = 200, description = "The agents answer again", body = DeskConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn release(
    app: Data<App>,
    user: User,
    path: Path<String>,
    body: Maybe<ReleaseIn>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let note = body.0.and_then(|body| body.note).map(text::cleaned);
    if note
        .as_ref()
        .is_some_and(|note| note.chars().count() > NOTE_CHARACTERS)
    {
        let detail = format!("At most {NOTE_CHARACTERS} characters.");
        return Err(Error::field("note", detail));
    }
    let released = app.experts.release(&person, id(&path)?, note).await?;
    Ok(HttpResponse::Ok().json(DeskConversationOut::from(released)))
}

/// `POST /conversations/{id}/resolve`: the matter is closed.
#[utoipa::path(
    post, path = "/conversations/{id}/resolve",
    operation_id = "experts_resolve",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "It is settled", body = DeskConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn resolve(
    app: Data<App>,
    user: User,
    path: Path<String>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let resolved = app.experts.resolve(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(DeskConversationOut::from(resolved)))
}

/// To whom a conversation is passed on.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Transfer, example = json!({"skill": "orders"}))]
pub(super) struct TransferIn {
    /// A colleague, as their tokens call them.
    expert: Option<String>,
    /// What they have to know.
    skill: Option<String>,
}

/// `POST /conversations/{id}/transfer`: to a colleague, or to whoever knows something.
#[utoipa::path(
    post, path = "/conversations/{id}/transfer",
    operation_id = "experts_transfer",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    request_body = Option<TransferIn>,
    responses((status = 200, description = "It waits for somebody else", body = DeskConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn transfer(
    app: Data<App>,
    user: User,
    path: Path<String>,
    body: Maybe<TransferIn>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let TransferIn { expert, skill } = body.0.unwrap_or_default();
    let skill = skill.map(checked_skill).transpose()?;
    let passed = app
        .experts
        .transfer(&person, id(&path)?, expert.as_deref(), skill)
        .await?;
    Ok(HttpResponse::Ok().json(DeskConversationOut::from(passed)))
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Draft, example = json!({"content": "It is on its way."}))]
struct DraftOut {
    content: String,
}

/// `POST /conversations/{id}/draft`: what the agent would answer. Nothing of it is kept.
#[utoipa::path(
    post, path = "/conversations/{id}/draft",
    operation_id = "experts_draft",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "What the agent would answer; empty where there is nothing to answer", body = DraftOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn draft(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let person = app.experts.person(&user).await?;
    let content = app.experts.draft(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(DraftOut { content }))
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Audit)]
struct AuditOut {
    entries: Vec<EntryOut>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AuditEntry, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e05", "timestamp": "2026-11-20T14:24:19.941641Z", "actor": "eva", "role": "expert", "action": "claim", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00"}))]
struct EntryOut {
    id: AuditId,
    timestamp: Timestamp,
    actor: String,
    role: String,
    action: String,
    conversation_id: Option<ConversationId>,
}

impl From<AuditEntry> for EntryOut {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            timestamp: entry.at,
            actor: entry.actor,
            role: entry.role,
            action: entry.action,
            conversation_id: entry.conversation_id,
        }
    }
}

/// `GET /audit`: who read or wrote what, the newest first.
#[utoipa::path(
    get, path = "/audit",
    operation_id = "experts_audit",
    tag = "experts",
    params(("conversation_id" = Option<String>, Query, format = "uuid", description = "Only of this conversation"), ("before" = Option<String>, Query, format = "uuid", description = "The entry before which the page ends"), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many, 50 unless told")),
    responses((status = 200, description = "The newest entries", body = AuditOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn audit(app: Data<App>, user: User, asked: Query) -> Result<HttpResponse> {
    let limit = number(&asked, "limit", 50, ENTRIES)?;
    let of = asked.get("conversation_id").map(str::parse).transpose();
    let of = of.map_err(|_| Error::field("conversation_id", "No id."))?;
    let before = asked.get("before").map(str::parse).transpose();
    let before = before.map_err(|_| Error::field("before", "No id."))?;
    let entries = app.experts.audit(&user, of, before, limit).await?;
    Ok(HttpResponse::Ok().json(AuditOut {
        entries: entries.into_iter().map(Into::into).collect(),
    }))
}
