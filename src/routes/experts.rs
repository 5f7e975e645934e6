//! The experts' calls: their profile, the queue, what they do with a conversation, and the audit.

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
/// Maximum audit entries per page.
const ENTRIES: u32 = 200;

/// An expert.
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
    /// Here `available` says whether an expert is online at this moment.
    experts: Vec<ExpertOut>,
}

/// Changes to an expert's own profile. An absent member changes nothing.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Presence, example = json!({"available": true, "skills": ["orders"], "name": "Eva"}))]
pub(super) struct PresenceIn {
    available: Option<bool>,
    #[schema(max_items = 50, min_length = 1, max_length = 100)]
    skills: Option<Vec<String>>,
    #[schema(min_length = 1, max_length = 100, pattern = "\\S")]
    name: Option<String>,
}

/// `GET /experts/me`: the signed-in expert's profile.
#[utoipa::path(
    get, path = "/experts/me",
    operation_id = "experts_show",
    tag = "experts",
    responses((status = 200, description = "The expert", body = ExpertOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn show(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    Ok(HttpResponse::Ok().json(ExpertOut::from(person.into_expert())))
}

/// `GET /experts`: all experts, to choose one for a transfer.
#[utoipa::path(
    get, path = "/experts",
    operation_id = "experts_list",
    tag = "experts",
    responses((status = 200, description = "All experts", body = TeamOut), Refused, NotSignedIn),
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

/// `PUT /experts/me`: sets the expert's availability, skills and name.
#[utoipa::path(
    put, path = "/experts/me",
    operation_id = "experts_change",
    tag = "experts",
    request_body = PresenceIn,
    responses((status = 200, description = "The changed expert", body = ExpertOut), Turning, NotSignedIn),
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
        let detail = format!("Must have 1 to {NAME_CHARACTERS} characters.");
        return Err(Error::field("name", detail));
    }
    let skills: Option<Vec<String>> =
        skills.map(|skills| skills.into_iter().map(text::cleaned).collect());
    let fit = |skill: &String| fits(skill, SKILL_CHARACTERS);
    if skills
        .as_ref()
        .is_some_and(|skills| skills.len() > SKILLS || !skills.iter().all(fit))
    {
        let detail =
            format!("At most {SKILLS} skills, each of 1 to {SKILL_CHARACTERS} characters.");
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

/// `GET /experts/queue`: the waiting conversations, longest wait first, and the expert's claimed ones.
/// Admins get all claimed ones. `user_input` is only the beginning of the first message.
#[utoipa::path(
    get, path = "/experts/queue",
    operation_id = "experts_queue",
    tag = "experts",
    responses((status = 200, description = "The waiting conversations, longest wait first, and the claimed ones", body = QueueOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn queue(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let queue = app.experts.queue(&person).await?.into_iter();
    Ok(HttpResponse::Ok().json(QueueOut {
        conversations: queue.map(Into::into).collect(),
    }))
}

/// `POST /conversations/{id}/claim`: claims a conversation that no other expert has. The current answer is stopped.
#[utoipa::path(
    post, path = "/conversations/{id}/claim",
    operation_id = "experts_claim",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "The claimed conversation", body = DeskConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn claim(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let claimed = app.experts.claim(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(DeskConversationOut::from(claimed)))
}

/// A note that the agents read when they get the conversation back.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Release, example = json!({"note": "Order 7 was sent again."}))]
pub(super) struct ReleaseIn {
    #[schema(max_length = 2000)]
    note: Option<String>,
}

/// `POST /conversations/{id}/release`: gives a conversation back to the agents.
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

/// `POST /conversations/{id}/resolve`: completes a conversation. Agents answer if the visitor writes again.
#[utoipa::path(
    post, path = "/conversations/{id}/resolve",
    operation_id = "experts_resolve",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "The completed conversation", body = DeskConversationOut), Turning, NotSignedIn),
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

/// The next expert of a conversation. Without members: any expert.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Transfer, example = json!({"skill": "orders"}))]
pub(super) struct TransferIn {
    /// The `sub` of another expert.
    expert: Option<String>,
    /// The skill that the next expert should have.
    skill: Option<String>,
}

/// `POST /conversations/{id}/transfer`: passes a conversation to another expert, or to one with a skill.
#[utoipa::path(
    post, path = "/conversations/{id}/transfer",
    operation_id = "experts_transfer",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    request_body = Option<TransferIn>,
    responses((status = 200, description = "The conversation, which waits for another expert", body = DeskConversationOut), Turning, NotSignedIn),
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

/// `POST /conversations/{id}/draft`: drafts the agent's answer for the expert. The draft is not stored.
#[utoipa::path(
    post, path = "/conversations/{id}/draft",
    operation_id = "experts_draft",
    tag = "experts",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "The draft; empty if there is nothing to answer", body = DraftOut), Turning, NotSignedIn),
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

/// `GET /audit`: who read or wrote what, newest first. For admins only.
#[utoipa::path(
    get, path = "/audit",
    operation_id = "experts_audit",
    tag = "experts",
    params(("conversation_id" = Option<String>, Query, format = "uuid", description = "Only entries about this conversation"), ("before" = Option<String>, Query, format = "uuid", description = "The id of an entry: only older ones are returned"), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Maximum number of entries; default 50")),
    responses((status = 200, description = "A page of entries, newest first", body = AuditOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn audit(app: Data<App>, user: User, asked: Query) -> Result<HttpResponse> {
    let limit = number(&asked, "limit", 50, ENTRIES)?;
    let of = asked.get("conversation_id").map(str::parse).transpose();
    let of = of.map_err(|_| Error::field("conversation_id", "Must be a UUID."))?;
    let before = asked.get("before").map(str::parse).transpose();
    let before = before.map_err(|_| Error::field("before", "Must be a UUID."))?;
    let entries = app.experts.audit(&user, of, before, limit).await?;
    Ok(HttpResponse::Ok().json(AuditOut {
        entries: entries.into_iter().map(Into::into).collect(),
    }))
}
