//! An expert or admin: what they may see, and how visitors and the audit name them.

use uuid::Uuid;

use crate::{
    auth::Role,
    store::{
        ConversationId, ExpertId, MessageId,
        audit::Actor,
        experts::{Expert, Visibility},
        messages::SystemMessage,
    },
    text,
};

/// What visitors read if an expert has no name.
const SOMEBODY: &str = "Somebody from our team";

/// An expert or admin who does something.
#[derive(Debug, Clone)]
pub struct Person {
    pub(super) expert: Expert,
    pub(super) role: Role,
}

impl Person {
    /// Their stored data.
    pub fn into_expert(self) -> Expert {
        self.expert
    }

    /// Whether they may see a conversation that `expert` has claimed, or that is waiting.
    pub fn sees(&self, expert: Option<ExpertId>, is_waiting: bool) -> bool {
        match self.visibility() {
            Visibility::All => true,
            Visibility::Own(id) => is_waiting || expert == Some(id),
        }
    }

    /// Whether they may see all conversations.
    pub(crate) fn sees_all(&self) -> bool {
        self.visibility() == Visibility::All
    }

    pub(super) fn visibility(&self) -> Visibility {
        match self.role {
            Role::Admin => Visibility::All,
            Role::Expert | Role::User => Visibility::Own(self.expert.id),
        }
    }

    /// Their name for visitors.
    pub(super) fn name(&self) -> &str {
        self.expert.name.as_deref().unwrap_or(SOMEBODY)
    }

    /// A system message for the visitor, made from a template with `{name}`.
    pub(crate) fn line(&self, template: &str, note: Option<String>) -> SystemMessage {
        SystemMessage {
            id: MessageId::new(),
            text: text::fill(template, |key| {
                (key == "name").then(|| self.name().to_owned())
            }),
            note,
            retracts: Vec::new(),
        }
    }

    /// The id of the message that they write in this conversation with this idempotency key.
    pub(super) fn message(&self, conversation: ConversationId, key: &str) -> MessageId {
        let name = format!("{}\n{conversation}\n{key}", self.expert.id);
        MessageId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }

    /// Their id as an expert.
    pub(crate) fn expert_id(&self) -> ExpertId {
        self.expert.id
    }

    /// They and their action, for the audit.
    pub(crate) fn actor(&self, action: &'static str) -> Actor {
        Actor {
            sub: self.expert.sub.clone(),
            role: self.role.as_str(),
            action,
        }
    }
}
