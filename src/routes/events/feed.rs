//! The experts' standing stream: all conversations that they may see, then each change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, web::Data};
use futures_util::stream;
use tokio::sync::watch;

use super::{
    Closing, StreamSignal, closing,
    event::{EventBatch, EventKind, EventOut},
    respond, wait,
};
use crate::routes::responses::{LiveUpdates, NotSignedIn, Refused};
use crate::routes::sse::SILENCE;
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    experts::Person,
    store::{ConversationId, conversations::Conversation, experts::Inbox},
};

/// How often the expert's presence is stored while the stream is open.
const NOTED: Duration = Duration::from_secs(60);

/// `GET /experts/events`: streams all conversations that the expert may see, then each change.
#[utoipa::path(
    get, path = "/experts/events",
    operation_id = "feed_of_desk",
    tag = "experts",
    responses(LiveUpdates, Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(in crate::routes) async fn of_desk(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user).await?;
    let work = app.experts.work().await?;
    let state = DeskFeed {
        changes: app.hub.work(work),
        closing: closing(&app, Some(user.until)),
        app: app.clone(),
        person,
        told: None,
        shown: HashSet::new(),
        to_review: 0,
        noted: Instant::now(),
    };
    Ok(respond(&app, stream::unfold(state, DeskFeed::next)))
}

/// The stream of one expert.
struct DeskFeed {
    app: Data<App>,
    person: Person,
    /// The conversations as they were sent last; `None` before the first event.
    told: Option<HashMap<ConversationId, Conversation>>,
    /// All conversations that were ever sent: each is noted in the audit once.
    shown: HashSet<ConversationId>,
    to_review: i64,
    changes: watch::Receiver<Arc<Inbox>>,
    closing: Closing,
    /// When their presence was stored last.
    noted: Instant,
}

impl DeskFeed {
    async fn next(mut self) -> Option<(EventBatch, Self)> {
        // Set once: changes that this client does not see must not delay the comment.
        let until = tokio::time::Instant::now() + SILENCE;
        loop {
            if self.noted.elapsed() > NOTED {
                self.noted = Instant::now();
                self.app.experts.is_still_there(&self.person).await;
            }
            let work = self.changes.borrow_and_update().clone();
            let own = work.conversations.iter().filter(|conversation| {
                self.person
                    .sees(conversation.expert_id, conversation.waiting_since.is_some())
            });
            let own: Vec<Conversation> = own.cloned().collect();
            let ids = own.iter().map(|conversation| conversation.id);
            let new: Vec<ConversationId> = ids.filter(|id| self.shown.insert(*id)).collect();
            if self.told.is_none() || !new.is_empty() {
                let kept = self.app.experts.shown(&self.person, new).await;
                // Nothing is shown that is not in the audit. The client reconnects.
                kept.inspect_err(Error::log).ok()?;
            }
            let told = self.tell(own, work.to_review);
            if told.is_empty()
                && wait(&mut self.changes, &mut self.closing, until).await? == StreamSignal::Change
            {
                continue;
            }
            return Some((told, self));
        }
    }

    fn tell(&mut self, conversations: Vec<Conversation>, to_review: i64) -> EventBatch {
        let time = self.app.clock.now();
        let had_to_review = std::mem::replace(&mut self.to_review, to_review);
        let known = conversations
            .iter()
            .map(|conversation| (conversation.id, conversation.clone()))
            .collect();
        let Some(before) = self.told.replace(known) else {
            let mut event = EventOut::new(EventKind::Snapshot, time);
            event.conversations = Some(conversations.into_iter().map(Into::into).collect());
            event.to_review = Some(to_review);
            return vec![(None, event)];
        };
        let mut told = EventBatch::new();
        if to_review != had_to_review {
            let mut event = EventOut::new(EventKind::Evaluations, time);
            event.to_review = Some(to_review);
            told.push((None, event));
        }
        let is_there = |id| self.told.as_ref().is_some_and(|now| now.contains_key(id));
        for id in before.keys().filter(|id| !is_there(*id)) {
            let mut event = EventOut::new(EventKind::Gone, time);
            event.conversation_id = Some(*id);
            told.push((None, event));
        }
        for conversation in conversations {
            if before.get(&conversation.id) != Some(&conversation) {
                let mut event = EventOut::new(EventKind::Conversation, time);
                event.conversation = Some(conversation.into());
                told.push((None, event));
            }
        }
        told
    }
}
