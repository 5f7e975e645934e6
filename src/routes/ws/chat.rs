//! The chat over a WebSocket: reads the client's messages, and starts a task for each.

use std::{collections::VecDeque, sync::Arc};

use actix_web::{HttpRequest, web::Data};
use actix_ws::{CloseCode, Session};
use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, LocalBoxFuture, abortable},
    stream::FuturesUnordered,
};
use serde_json::json;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use super::{
    ClientMessage, CloseCause, Listener, SEND_TIMEOUT,
    client::{Client, Follow, FollowFrom, SocketMessageIn},
};
use crate::{
    app::App,
    auth::User,
    connections::Connection,
    error::{Code, Error, Result},
    routes::events::event::MessageCursor,
    store::ConversationId,
    text,
};

/// After this many refused messages the connection is closed.
const MAX_CLIENT_FAULTS: usize = 5;
/// Maximum tasks of one connection at once; also the maximum of conversations that it follows.
const MAX_UNDER_WAY: usize = 32;

/// A client of the chat, and its tasks.
pub(super) struct Chat {
    client: Client,
    /// Running tasks: the turns that are forwarded, and short requests.
    work: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// The tasks that follow conversations.
    standing: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// The conversations that are followed, oldest first, with the handle that stops each task.
    followed: VecDeque<(ConversationId, AbortHandle)>,
    /// Conversations that tasks want to be followed.
    to_follow: UnboundedReceiver<Follow>,
    faults: usize,
    /// Where it is recorded whether tasks are running.
    connection: Option<Arc<Connection>>,
}

impl Chat {
    /// A newly connected client.
    pub(super) fn new(app: Data<App>, user: User, session: Session, request: HttpRequest) -> Self {
        let (follow, to_follow) = unbounded_channel();
        let connection = request.conn_data::<Arc<Connection>>().cloned();
        Self {
            client: Client {
                app,
                user,
                session,
                request,
                follow,
            },
            work: FuturesUnordered::new(),
            standing: FuturesUnordered::new(),
            followed: VecDeque::new(),
            to_follow,
            faults: 0,
            connection,
        }
    }

    /// Records whether tasks are running: such a connection is not closed to make room for others.
    fn note(&self) {
        match &self.connection {
            Some(connection) if self.work.is_empty() => connection.is_standing(),
            Some(connection) => connection.is_answering(),
            None => {}
        }
    }

    async fn do_as_told(&mut self, said: &str) -> std::result::Result<(), CloseCause> {
        let read = text::parse_json::<SocketMessageIn>(said.as_bytes());
        let Ok(said) = read else {
            let error = Error::new(Code::InvalidBody).detail("The message must be a JSON object.");
            return self.refuse(&error, None).await;
        };
        let own = said.client_message_id.clone();
        let begun = self.begin(said);
        self.note();
        match begun {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(&error, own).await,
        }
    }

    /// Starts what a client asks for.
    fn begin(&mut self, said: SocketMessageIn) -> Result<()> {
        if self.work.len() >= MAX_UNDER_WAY {
            return Err(Error::new(Code::RateLimited));
        }
        let client = self.client.clone();
        client.app.limits.count_request(&client.user.id)?;
        match said.kind.as_deref() {
            Some("message") | None => {
                self.work.push(Box::pin(client.say(said)));
            }
            Some("stop") => {
                let turn = said
                    .turn_id
                    .ok_or_else(|| Error::field("turn_id", "A stop message needs turn_id."))?;
                self.work.push(Box::pin(client.stop(turn)));
            }
            Some("resume") => {
                let id = said
                    .id
                    .ok_or_else(|| Error::field("id", "A resume message needs a frame's id."))?;
                match (id.parse(), id.parse::<MessageCursor>()) {
                    (Ok(after), _) => self.work.push(Box::pin(client.resume(after))),
                    (_, Ok(at)) => self.follow(at.conversation, FollowFrom::Message(at.seq)),
                    _ => return Err(Error::new(Code::InvalidCursor)),
                }
            }
            Some("typing") => {
                let last = self.followed.back().map(|(id, _)| *id);
                if let Some(id) = said.conversation_id.or(last) {
                    self.work.push(Box::pin(client.tell_writing(id)));
                }
            }
            Some(_) => {
                return Err(Error::field(
                    "type",
                    "Must be message, stop, resume or typing.",
                ));
            }
        }
        Ok(())
    }

    /// Follows a conversation: forwards what experts write in it. If it is followed already, only
    /// [`FollowFrom::Message`] and [`FollowFrom::Turn`] start again.
    fn follow(&mut self, id: ConversationId, after: FollowFrom) {
        let known = self.followed.iter().position(|(known, _)| *known == id);
        match known {
            Some(_) if matches!(after, FollowFrom::New(_)) => return,
            Some(at) => drop(self.followed.remove(at).map(|(_, older)| older.abort())),
            None => {}
        }
        if self.followed.len() >= MAX_UNDER_WAY
            && let Some((_, oldest)) = self.followed.pop_front()
        {
            oldest.abort();
        }
        let (standing, handle) = abortable(self.client.clone().stand_by(id, after));
        self.followed.push_back((id, handle));
        self.standing.push(Box::pin(standing.map(drop)));
    }

    /// Sends an error; after [`MAX_CLIENT_FAULTS`] of them the connection is closed. Rate limits do not count.
    async fn refuse(
        &mut self,
        error: &Error,
        own: Option<String>,
    ) -> std::result::Result<(), CloseCause> {
        if error.code != Code::RateLimited {
            self.faults += 1;
        }
        if !matches!(
            timeout(SEND_TIMEOUT, self.client.fail(error, own)).await,
            Ok(Ok(()))
        ) {
            return Err(Some(CloseCode::Away.into()));
        }
        match self.faults < MAX_CLIENT_FAULTS {
            true => Ok(()),
            false => Err(Some(CloseCode::Policy.into())),
        }
    }
}

impl Listener for Chat {
    async fn welcome(&mut self) -> std::result::Result<(), CloseCause> {
        let connected = json!({"type": "connection"});
        self.client.tell(&connected).await.map_err(|_| None)
    }

    async fn hear(&mut self, said: ClientMessage<'_>) -> std::result::Result<(), CloseCause> {
        match said {
            ClientMessage::Text(said) => self.do_as_told(said).await,
            ClientMessage::Binary(_) => self.refuse(&Error::new(Code::InvalidBody), None).await,
        }
    }

    async fn work(&mut self) {
        tokio::select! {
            Some(()) = self.work.next() => self.note(),
            Some(()) = self.standing.next() => {}
            Some((id, after)) = self.to_follow.recv() => self.follow(id, after),
        }
    }
}
