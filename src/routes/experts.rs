//! The people at the desk: the queue, and what they do with a conversation.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    chat::count,
    conversations::{ConversationOut, id},
    extract::{Json, Maybe, Query},
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Error, Result},
    store::{
        AuditId, ConversationId, ExpertId,
        audit::Entry,
        conversations::Conversation,
        experts::{Expert, Presence},
    },
    text,
};

const NAME_CHARACTERS: usize = 100;
const SKILLS: usize = 50;
const NOTE_CHARACTERS: usize = 2_000;
/// The most entries of a page of the audit.
const ENTRIES: u32 = 200;

/// A conversation as the desk sees it.
#[derive(Serialize)]
pub(super) struct CaseOut {
    #[serde(flatten)]
    conversation: ConversationOut,
    expert_id: Option<ExpertId>,
    assigned_to: Option<ExpertId>,
    waiting_since: Option<Timestamp>,
    reason: Option<String>,
    skill: Option<String>,
}

impl From<Conversation> for CaseOut {
    fn from(conversation: Conversation) -> Self {
        Self {
            expert_id: conversation.expert_id,
            assigned_to: conversation.assigned_to,
            waiting_since: conversation.waiting_since,
            reason: conversation.reason.clone(),
            skill: conversation.skill.clone(),
            conversation: conversation.into(),
        }
    }
}

/// Somebody at the desk, as they see themselves.
#[derive(Serialize)]
struct ExpertOut {
    id: ExpertId,
    sub: String,
    name: Option<String>,
    available: bool,
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

/// What somebody says of themselves.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PresenceIn {
    available: Option<bool>,
    skills: Option<Vec<String>>,
    name: Option<String>,
}

/// `GET /experts/me`.
pub(super) async fn show(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    Ok(HttpResponse::Ok().json(ExpertOut::from(person.into_expert())))
}

/// `PUT /experts/me`: whether they are there, what they know, how they want to be called.
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
    let fits = |word: &String| (1..=NAME_CHARACTERS).contains(&word.chars().count());
    let name = name.map(|name| text::cleaned(name).trim().to_owned());
    if !name.iter().all(fits) {
        let detail = format!("1 to {NAME_CHARACTERS} characters.");
        return Err(Error::field("name", detail));
    }
    let skills: Option<Vec<String>> =
        skills.map(|skills| skills.into_iter().map(text::cleaned).collect());
    let too_many = |skills: &Vec<String>| skills.len() > SKILLS || !skills.iter().all(fits);
    if skills.as_ref().is_some_and(too_many) {
        let detail = format!("At most {SKILLS}, each of 1 to {NAME_CHARACTERS} characters.");
        return Err(Error::field("skills", detail));
    }
    let presence = Presence {
        available,
        skills,
        name,
    };
    let person = app.experts.person(&user, presence).await?;
    Ok(HttpResponse::Ok().json(ExpertOut::from(person.into_expert())))
}

#[derive(Serialize)]
struct QueueOut {
    conversations: Vec<CaseOut>,
}

/// `GET /experts/queue`: what waits, the longest first, and what they hold.
pub(super) async fn queue(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    let queue = app.experts.queue(&person).await?.into_iter();
    Ok(HttpResponse::Ok().json(QueueOut {
        conversations: queue.map(Into::into).collect(),
    }))
}

/// `POST /conversations/{id}/claim`.
pub(super) async fn claim(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    let claimed = app.experts.claim(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(CaseOut::from(claimed)))
}

/// What the agents are told when they have a conversation back.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReleaseIn {
    note: Option<String>,
}

/// `POST /conversations/{id}/release`: back to the agents.
pub(super) async fn release(
    app: Data<App>,
    user: User,
    path: Path<String>,
    body: Maybe<ReleaseIn>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    let note = body.0.and_then(|body| body.note).map(text::cleaned);
    if note
        .as_ref()
        .is_some_and(|note| note.chars().count() > NOTE_CHARACTERS)
    {
        let detail = format!("At most {NOTE_CHARACTERS} characters.");
        return Err(Error::field("note", detail));
    }
    let released = app.experts.release(&person, id(&path)?, note).await?;
    Ok(HttpResponse::Ok().json(CaseOut::from(released)))
}

/// `POST /conversations/{id}/resolve`: the matter is closed.
pub(super) async fn resolve(
    app: Data<App>,
    user: User,
    path: Path<String>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    let resolved = app.experts.resolve(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(CaseOut::from(resolved)))
}

/// To whom a conversation is passed on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TransferIn {
    /// A colleague, as their tokens call them.
    expert: Option<String>,
    /// What they have to know.
    skill: Option<String>,
}

/// `POST /conversations/{id}/transfer`: to a colleague, or to whoever knows something.
pub(super) async fn transfer(
    app: Data<App>,
    user: User,
    path: Path<String>,
    body: Maybe<TransferIn>,
) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    let TransferIn { expert, skill } = body.0.unwrap_or_default();
    let skill = skill.map(text::cleaned);
    let passed = app
        .experts
        .transfer(&person, id(&path)?, expert.as_deref(), skill)
        .await?;
    Ok(HttpResponse::Ok().json(CaseOut::from(passed)))
}

#[derive(Serialize)]
struct DraftOut {
    content: String,
}

/// `POST /conversations/{id}/draft`: what the agent would answer. Nothing of it is kept.
pub(super) async fn draft(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let person = app.experts.person(&user, Presence::default()).await?;
    let content = app.experts.draft(&person, id(&path)?).await?;
    Ok(HttpResponse::Ok().json(DraftOut { content }))
}

#[derive(Serialize)]
struct AuditOut {
    entries: Vec<EntryOut>,
}

#[derive(Serialize)]
struct EntryOut {
    id: AuditId,
    timestamp: Timestamp,
    actor: String,
    role: String,
    action: String,
    conversation_id: Option<ConversationId>,
}

impl From<Entry> for EntryOut {
    fn from(entry: Entry) -> Self {
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
pub(super) async fn audit(app: Data<App>, user: User, asked: Query) -> Result<HttpResponse> {
    let limit = match asked.get("limit").map(str::parse).unwrap_or(Ok(50)) {
        Ok(limit) if (1..=ENTRIES).contains(&limit) => limit,
        _ => {
            let detail = format!("A number from 1 to {ENTRIES}.");
            return Err(Error::field("limit", detail));
        }
    };
    let of = asked.get("conversation_id").map(str::parse).transpose();
    let of = of.map_err(|_| Error::field("conversation_id", "No id."))?;
    let before = asked.get("before").map(str::parse).transpose();
    let before = before.map_err(|_| Error::field("before", "No id."))?;
    let entries = app.experts.audit(&user, of, before, limit).await?;
    Ok(HttpResponse::Ok().json(AuditOut {
        entries: entries.into_iter().map(Into::into).collect(),
    }))
}
