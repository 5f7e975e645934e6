//! What the desk has to do: all of it, and then what changes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse,
    web::{Bytes, Data},
};
use futures_util::stream;
use tokio::sync::watch;

use super::{Closing, EventOut, Heard, closing, respond, wait};
use crate::{
    app::App,
    auth::User,
    error::Result,
    experts::Person,
    realtime::Cases,
    routes::sse::{COMMENT, RETRY},
    store::{ConversationId, conversations::Conversation, experts::Presence},
};

/// How often it is noted that somebody is at the desk.
const NOTED: Duration = Duration::from_secs(60);

/// `GET /experts/events`: what the desk has to do, all of it and then what changes.
pub(in crate::routes) async fn of_desk(app: Data<App>, user: User) -> Result<HttpResponse> {
    let person = app.experts.person(&user, Presence::default()).await?;
    let cases = app.experts.cases(&person).await?;
    let state = Feed {
        changes: app.hub.cases(cases),
        closing: closing(&app, Some(user.until)),
        app,
        person,
        told: None,
        noted: Instant::now(),
    };
    Ok(respond(stream::unfold(state, Feed::next)))
}

/// One who is at the desk.
struct Feed {
    app: Data<App>,
    person: Person,
    /// What they see, as it was told last.
    told: Option<HashMap<ConversationId, Conversation>>,
    changes: watch::Receiver<Cases>,
    closing: Closing,
    /// When it was noted last that they are there.
    noted: Instant,
}

impl Feed {
    async fn next(mut self) -> Option<(Result<Bytes>, Self)> {
        loop {
            if self.noted.elapsed() > NOTED {
                self.noted = Instant::now();
                self.app.experts.is_still_there(&self.person).await;
            }
            let cases = self.changes.borrow_and_update().clone();
            let own = cases.iter().filter(|case| {
                self.person
                    .sees(case.expert_id, case.waiting_since.is_some())
            });
            let own: Vec<Conversation> = own.cloned().collect();
            let mut buffer = Vec::new();
            self.tell(own, &mut buffer);
            if !buffer.is_empty() {
                return Some((Ok(buffer.into()), self));
            }
            if wait(&mut self.changes, &mut self.closing).await? == Heard::Nothing {
                return Some((Ok(Bytes::from_static(COMMENT)), self));
            }
        }
    }

    fn tell(&mut self, cases: Vec<Conversation>, buffer: &mut Vec<u8>) {
        let time = self.app.clock.now();
        let known = cases.iter().map(|case| (case.id, case.clone())).collect();
        let Some(told) = self.told.replace(known) else {
            buffer.extend_from_slice(RETRY);
            let mut event = EventOut::new("snapshot", time);
            event.conversations = Some(cases.into_iter().map(Into::into).collect());
            return event.write(None, buffer);
        };
        let gone = told
            .keys()
            .filter(|id| cases.iter().all(|case| case.id != **id));
        for id in gone {
            let mut event = EventOut::new("gone", time);
            event.conversation_id = Some(*id);
            event.write(None, buffer);
        }
        for case in cases {
            if told.get(&case.id) != Some(&case) {
                let mut event = EventOut::new("conversation", time);
                event.conversation = Some(case.into());
                event.write(None, buffer);
            }
        }
    }
}
