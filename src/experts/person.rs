//! Somebody at the desk: what they may see, and how what they do is told and kept.

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

/// What visitors read of somebody without a name.
const SOMEBODY: &str = "Somebody from our team";

/// Who does something at the desk.
#[derive(Debug, Clone)]
pub struct Person {
    pub(super) expert: Expert,
    pub(super) role: Role,
}

impl Person {
    /// What is known of them.
    pub fn into_expert(self) -> Expert {
        self.expert
    }

    /// Whether a conversation is theirs to see, which this expert has, or which waits for one.
    pub fn sees(&self, expert: Option<ExpertId>, is_waiting: bool) -> bool {
        match self.sight() {
            Visibility::All => true,
            Visibility::Own(id) => is_waiting || expert == Some(id),
        }
    }

    /// Whether all conversations are theirs to see.
    pub(crate) fn sees_all(&self) -> bool {
        self.sight() == Visibility::All
    }

    pub(super) fn sight(&self) -> Visibility {
        match self.role {
            Role::Admin => Visibility::All,
            Role::Expert | Role::User => Visibility::Own(self.expert.id),
        }
    }

    /// How visitors read them.
    pub(super) fn name(&self) -> &str {
        self.expert.name.as_deref().unwrap_or(SOMEBODY)
    }

    /// What the visitor reads.
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

    /// The message that they say in this conversation with this key.
    pub(super) fn message(&self, conversation: ConversationId, key: &str) -> MessageId {
        let name = format!("{}\n{conversation}\n{key}", self.expert.id);
        MessageId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }

    /// Who they are.
    pub(crate) fn expert_id(&self) -> ExpertId {
        self.expert.id
    }

    /// The same, for the audit.
    pub(crate) fn actor(&self, action: &'static str) -> Actor {
        Actor {
            sub: self.expert.sub.clone(),
            role: self.role.as_str(),
            action,
        }
    }
}
