//! Experts: what they may see, and what they do with a conversation.
//!
//! An expert sees conversations that wait for an expert, those that they have claimed, and answers that failed a judge;
//! an admin sees all. For anything else they get `not_found`. The audit records each of their writes in the same
//! transaction, and each of their reads before they see the data.

mod person;

use std::{sync::Arc, time::Duration};

pub use person::Person;

use crate::{
    auth::{Role, User},
    clock::Clock,
    config::Settings,
    error::{Code, Error, Result},
    hub::{Hub, LiveConversations},
    store::{
        AuditId, ConversationId, MessageId, Owner, Store, TurnId, UserId,
        assignments::{
            Claim, ClaimOutcome, ExpertMessage, ExpertMessageOutcome, Release, ReleaseTo,
        },
        audit::AuditEntry,
        conversations::Conversation,
        experts::{Inbox, Presence},
        messages::{Message, MessagePage, Paged},
        queue::QueueNotice,
    },
    turn::{Engine, takeover::truncated},
};

/// Maximum waiting conversations in a queue, and maximum claimed ones.
const MAX_QUEUE: u32 = 200;

/// What experts can do.
pub struct Experts {
    store: Store,
    engine: Arc<Engine>,
    hub: Arc<Hub<LiveConversations>>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
}

impl Experts {
    /// The experts of a server.
    pub fn new(
        store: Store,
        engine: Arc<Engine>,
        hub: Arc<Hub<LiveConversations>>,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            engine,
            hub,
            settings,
            clock,
        }
    }

    /// A signed-in user as an expert or admin.
    ///
    /// # Errors
    /// `forbidden` if they are neither.
    pub async fn person(&self, user: &User) -> Result<Person> {
        self.known(user, Presence::default()).await
    }

    /// The same, and stores a change of their presence. When they become available, they are assigned conversations
    /// that nobody else has been asked for. When they leave, others are asked for those that were assigned to them.
    ///
    /// # Errors
    /// `forbidden` if they are neither.
    pub async fn present(&self, user: &User, presence: Presence) -> Result<Person> {
        let comes_or_leaves = presence.available.is_some();
        let person = self.known(user, presence).await?;
        if comes_or_leaves {
            match self.store.hand_out().await {
                Ok(_) => self.hub.hint(),
                // Housekeeping will retry it.
                Err(error) => tracing::debug!(error.cause = %error, "nothing was handed out"),
            }
        }
        Ok(person)
    }

    async fn known(&self, user: &User, presence: Presence) -> Result<Person> {
        if !user.is_of_desk() {
            return Err(Error::new(Code::Forbidden).detail("This is for the people at the desk."));
        }
        Ok(Person {
            expert: self.store.expert(&user.sub, presence).await?,
            role: user.role,
        })
    }

    /// All conversations that wait, are claimed or are being answered, for a live feed; [`Person::sees`] filters them
    /// for each expert.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn work(&self) -> Result<Inbox> {
        Ok(self.store.work().await?)
    }

    /// Records in the audit that somebody is shown these conversations: a queue contains words of the visitors.
    ///
    /// # Errors
    /// When the database fails. Then the conversations must not be shown.
    pub async fn shown(&self, person: &Person, conversations: Vec<ConversationId>) -> Result<()> {
        Ok(self
            .store
            .note(person.actor("read_queue"), conversations)
            .await?)
    }

    /// Notes that an expert is still present.
    pub async fn is_still_there(&self, person: &Person) {
        let seen = self.store.expert(&person.expert.sub, Presence::default());
        if let Err(error) = seen.await {
            tracing::debug!(error.cause = %error, "it is not noted that somebody is at the desk");
        }
    }

    /// The conversations that wait, the longest first, and those that this expert has claimed; for an admin, all that
    /// are claimed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queue(&self, person: &Person) -> Result<Vec<Conversation>> {
        let queue = self.store.queue(person.visibility(), MAX_QUEUE).await?;
        let shown = queue.iter().map(|conversation| conversation.id).collect();
        self.shown(person, shown).await?;
        Ok(queue)
    }

    /// A conversation.
    ///
    /// # Errors
    /// `not_found` if they may not see it.
    pub async fn look(&self, person: &Person, id: ConversationId) -> Result<Conversation> {
        let seen = self
            .store
            .desk_conversation(person.visibility(), id, person.actor("read"));
        seen.await?.ok_or_else(|| Error::new(Code::NotFound))
    }

    /// A page of a conversation's messages. `None` if `before` is not one of them.
    ///
    /// # Errors
    /// `not_found` if they may not see the conversation.
    pub async fn messages(
        &self,
        person: &Person,
        id: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Option<MessagePage>> {
        let actor = person.actor("read_messages");
        let page = (before, limit);
        let read = self
            .store
            .messages_for_desk(person.visibility(), id, actor, page);
        match read.await? {
            Paged::Page(page) => Ok(Some(page)),
            Paged::NoMessage => Ok(None),
            Paged::NoConversation => Err(Error::new(Code::NotFound)),
        }
    }

    /// The owner of a turn, with which its stream can be read.
    ///
    /// # Errors
    /// `not_found` if they may not see it.
    pub async fn turn(&self, person: &Person, turn: TurnId) -> Result<Owner> {
        let actor = person.actor("read_stream");
        let found = self
            .store
            .turn_for_desk(person.visibility(), turn, actor)
            .await?;
        found.ok_or_else(|| Error::new(Code::NotFound))
    }

    /// Claims a conversation. A running answer stops; what is stored of it stays.
    ///
    /// # Errors
    /// `already_claimed` if another expert has it; `not_found` if it does not exist.
    pub async fn claim(&self, person: &Person, id: ConversationId) -> Result<Conversation> {
        let claim = Claim {
            conversation: id,
            expert: person.expert.id,
            actor: person.actor("claim"),
            line: person.line(&self.settings.experts.taken, None),
            log_kept: Duration::from_secs(self.settings.turn.log_kept_seconds),
            now: self.clock.now(),
            truncate: truncated,
        };
        let (taken, turn) = done(self.store.claim(claim).await?)?;
        if let Some(turn) = turn {
            self.engine.taken_over(turn).await;
        }
        self.hub.hint();
        Ok(taken)
    }

    /// Releases a conversation to the agents, with a note for them.
    ///
    /// # Errors
    /// `not_found` if they have not claimed it; for an admin, if nobody has.
    pub async fn release(
        &self,
        person: &Person,
        id: ConversationId,
        note: Option<String>,
    ) -> Result<Conversation> {
        let line = person.line(&self.settings.experts.returned, note);
        self.release_to(person, id, "release", ReleaseTo::Agents(line))
            .await
    }

    /// Resolves a conversation: its matter is settled.
    ///
    /// # Errors
    /// `not_found` if they have not claimed it; for an admin, if nobody has.
    pub async fn resolve(&self, person: &Person, id: ConversationId) -> Result<Conversation> {
        let line = person.line(&self.settings.experts.settled, None);
        self.release_to(person, id, "resolve", ReleaseTo::Settled(line))
            .await
    }

    /// Transfers a conversation to a colleague, or to an expert with a skill.
    ///
    /// # Errors
    /// `not_found` if they have not claimed it (for an admin, if nobody has); `invalid_field` if the colleague does not
    /// exist, or is the expert themselves.
    pub async fn transfer(
        &self,
        person: &Person,
        id: ConversationId,
        colleague: Option<&str>,
        skill: Option<String>,
    ) -> Result<Conversation> {
        let colleague = match colleague {
            None => None,
            Some(sub) => {
                let team = self.store.team().await?;
                let mut others = team.into_iter().map(|(expert, _)| expert);
                let other = others.find(|other| other.sub == sub && other.id != person.expert.id);
                Some(
                    other
                        .ok_or_else(|| Error::field("expert", "No colleague."))?
                        .id,
                )
            }
        };
        let told = QueueNotice {
            asked: self.settings.experts.passed_on.clone(),
            nobody: self.settings.experts.nobody.clone(),
            name: Some(person.name().to_owned()),
        };
        let to = ReleaseTo::Queue {
            colleague,
            skill,
            told,
        };
        self.release_to(person, id, "transfer", to).await
    }

    async fn release_to(
        &self,
        person: &Person,
        id: ConversationId,
        action: &'static str,
        to: ReleaseTo,
    ) -> Result<Conversation> {
        let release = Release {
            conversation: id,
            expert: match person.role {
                Role::Admin => None,
                Role::Expert | Role::User => Some(person.expert.id),
            },
            actor: person.actor(action),
            to,
            notify: self.settings.notify.kinds(),
        };
        let (given, _) = done(self.store.release(release).await?)?;
        self.hub.hint();
        Ok(given)
    }

    /// Writes a message to a visitor.
    ///
    /// # Errors
    /// `not_found` if `user` has no such conversation, `already_claimed` if another expert has it,
    /// `idempotency_key_reused` if the key was used for another text.
    pub async fn write(
        &self,
        person: &Person,
        id: ConversationId,
        user: UserId,
        body: String,
        key: Option<&str>,
    ) -> Result<Message> {
        let write = ExpertMessage {
            conversation: id,
            user,
            expert: person.expert.id,
            actor: person.actor("write"),
            id: key.map_or_else(MessageId::new, |key| person.message(id, key)),
            body,
        };
        match self.store.write_as_expert(write).await? {
            ExpertMessageOutcome::Done(message) => {
                self.hub.hint();
                Ok(*message)
            }
            ExpertMessageOutcome::Reused => Err(Error::new(Code::IdempotencyKeyReused)),
            ExpertMessageOutcome::Another => Err(Error::new(Code::AlreadyClaimed)),
            ExpertMessageOutcome::None => Err(Error::new(Code::NotFound)),
        }
    }

    /// Drafts what the agent would answer now, for the expert to send or not.
    ///
    /// # Errors
    /// `not_found` if they may not see the conversation; the model's error if it fails.
    pub async fn draft(&self, person: &Person, id: ConversationId) -> Result<String> {
        let history = self.settings.turn.history_messages;
        let actor = person.actor("draft");
        let known = self
            .store
            .agent_view_for_desk(person.visibility(), id, actor, history);
        let known = known.await?.ok_or_else(|| Error::new(Code::NotFound))?;
        self.engine.draft(id, known).await
    }

    /// The newest entries of the audit. For admins only.
    ///
    /// # Errors
    /// `forbidden` for others.
    pub async fn audit(
        &self,
        user: &User,
        of: Option<ConversationId>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>> {
        match user.role {
            Role::Admin => Ok(self.store.audit(of, before, limit).await?),
            Role::Expert | Role::User => Err(Error::new(Code::Forbidden)),
        }
    }
}

fn done(held: ClaimOutcome) -> Result<(Conversation, Option<TurnId>)> {
    match held {
        ClaimOutcome::Done(conversation, turn) => Ok((*conversation, turn)),
        ClaimOutcome::Another => Err(Error::new(Code::AlreadyClaimed)),
        ClaimOutcome::None => Err(Error::new(Code::NotFound)),
    }
}
