//! The end of a turn: commits its answer, then sends the final frame.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Engine,
    commit::{FINISH_TIMEOUT, write},
    frame::Frame,
    log::Log,
    metadata::CONFIRMS,
    output::{Ending, Progress},
};
use crate::{
    agents::ShownWidget,
    error::{Code, Error},
    llm::Usage,
    store::{
        MessageId,
        begin::Started,
        jobs::Judging,
        messages::FinishReason,
        sessions::Mode,
        turns::{AnswerMessage, Finish, FinishTurn, WidgetMessage},
    },
    text,
};

/// Time limit of the last try to commit after the database has been away too long.
const LAST_TRY: Duration = Duration::from_secs(1);

/// What is left to store of a turn that is over.
pub(super) struct FinishedTurn {
    /// Its text, its effects and what it cost.
    pub progress: Progress,
    /// The widgets that it showed.
    pub shown: Vec<(ShownWidget, MessageId)>,
    /// Why it is over.
    pub ending: Ending,
}

/// Commits the answer, then sends the final frame. Returns why the turn ended; `None` if it was adopted
/// elsewhere, closed or deleted.
pub(super) async fn finish(
    engine: &Engine,
    started: &Started,
    log: &Log,
    ended: FinishedTurn,
) -> Option<FinishReason> {
    let FinishedTurn {
        progress,
        shown,
        ending,
    } = ended;
    let answer = answer_of(progress.text, progress.effects.metadata);
    // Widgets without text are an answer, too.
    let judged = answer.as_ref().map(|answer| answer.message_id);
    let judged = judged.or_else(|| shown.first().map(|(_, id)| *id));
    let judging = judging(engine, judged, progress.agent.as_deref());
    let mut last = Frame::last(ending.reason, ending.error.as_ref(), engine.clock.now());
    last.message_id = answer.as_ref().map(|answer| answer.message_id);
    last.agent = progress.agent.clone().map(Into::into);
    let usage = tokens(progress.spent.plus(progress.asking));
    let (records, last_seq) = log.with_last(last.clone());
    let deadline = Instant::now() + timeout_of(&ending);
    let lock = progress.agent.map(|agent| {
        let ttl = engine.agents.session_ttl(&agent);
        (agent, ttl.unwrap_or(engine.sessions.default_ttl()))
    });
    let moved = lock.clone().filter(|(agent, _)| {
        started.agent.as_ref() != Some(agent) || started.agent_before.as_ref() != Some(agent)
    });
    let finish = FinishTurn {
        turn_id: started.turn_id,
        attempt: started.attempt,
        conversation_id: started.conversation_id,
        user_id: started.user_id,
        device: started.device.clone(),
        fence: started.fence,
        finish_reason: ending.reason,
        error_code: ending.error.as_ref().map(|error| error.code.as_str()),
        answer,
        judging,
        widgets: shown.into_iter().map(stored).collect(),
        asks: progress.asks,
        with_person: started.mode == Mode::Expert,
        agent: moved,
        state: changed(&started.state, progress.effects.state),
        context: progress.effects.context.map(Value::Object),
        user_name: progress.effects.user_name.map(text::cleaned),
        usage,
        records,
        last_seq,
        log_kept: Duration::from_secs(engine.settings.turn.log_kept_seconds),
        deadline: deadline.into_std(),
    };
    let last = match commit(engine, finish, deadline).await {
        Ok(Finish::Done) => {
            log_lock(started, lock);
            // Before the final frame, so that the visitor's next message is checked against what is really
            // left.
            engine.settle(started.turn_id).await;
            last
        }
        Ok(Finish::Fenced) => return engine.lose(started, log).await,
        Err(error) => Frame::last(FinishReason::Error, Some(&error), engine.clock.now()),
    };
    let reason = last.finish_reason.unwrap_or(FinishReason::Error);
    log.close(last);
    Some(reason)
}

/// An answer's message; none without text.
fn answer_of(text: String, metadata: Option<Value>) -> Option<AnswerMessage> {
    (!text.is_empty()).then(|| AnswerMessage {
        message_id: MessageId::new(),
        body: text,
        metadata: metadata.map(text::clean_json),
    })
}

/// Time limit of the commit. If the database has been away too long already, there is one last short try.
fn timeout_of(ending: &Ending) -> Duration {
    match &ending.error {
        Some(error) if error.code == Code::AnswerNotStored => LAST_TRY,
        _ => FINISH_TIMEOUT,
    }
}

/// The judges that evaluate the answer, if any.
fn judging(engine: &Engine, answer: Option<MessageId>, agent: Option<&str>) -> Option<Judging> {
    let (message_id, agent) = answer.zip(agent)?;
    let judges = engine.judges.of_answer(agent, message_id);
    (!judges.is_empty()).then(|| Judging {
        message_id,
        agent: agent.to_owned(),
        judges,
    })
}

/// Input and output tokens, as they are stored; none if no model was asked.
fn tokens(spent: Usage) -> Option<(i64, i64)> {
    let count = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
    (spent != Usage::default()).then(|| (count(spent.input), count(spent.output)))
}

/// Logs in one line what happened to the session lock.
fn log_lock(started: &Started, lock: Option<(String, Duration)>) {
    let Some((agent, ttl)) = lock else {
        return;
    };
    let became = match &started.agent_before {
        None => "set",
        Some(before) if *before == agent => "kept",
        Some(_) => "moved",
    };
    tracing::debug!(
        session.agent = agent,
        session.ttl_seconds = ttl.as_secs(),
        session.lock = became,
        "session lock"
    );
}

/// The agents' state including the changes; none if nothing has changed.
fn changed(state: &Value, changes: Map<String, Value>) -> Option<Value> {
    if changes.is_empty() {
        return None;
    }
    let mut state = state.as_object().cloned().unwrap_or_default();
    state.extend(changes);
    Some(Value::Object(state))
}

/// A widget as it is stored.
pub(super) fn stored((shown, message_id): (ShownWidget, MessageId)) -> WidgetMessage {
    let confirms = shown.confirms.map(|consent| json!({ CONFIRMS: consent }));
    WidgetMessage {
        message_id,
        kind: shown.widget.kind.as_str(),
        text: shown.widget.text(),
        data: shown.widget.data,
        confirms,
    }
}

/// Stores the end of a turn; retries until the deadline.
async fn commit(engine: &Engine, finish: FinishTurn, deadline: Instant) -> Result<Finish, Error> {
    let finish = Arc::new(finish);
    let stored = write(deadline, || engine.store.finish_turn(Arc::clone(&finish))).await;
    stored.inspect_err(Error::log)
}
