//! The end of a turn: its answer committed, then the final frame.

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

/// How long the one try more takes.
const LAST_TRY: Duration = Duration::from_secs(1);

/// A turn that is over.
pub(super) struct FinishedTurn {
    /// What it has come to.
    pub progress: Progress,
    /// The widgets that it showed.
    pub shown: Vec<(ShownWidget, MessageId)>,
    /// Why it is over.
    pub ending: Ending,
}

/// Commits the answer, then sends the final frame; why the turn ended, if it was still its own.
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
    let answer = (!progress.text.is_empty()).then(|| AnswerMessage {
        message_id: MessageId::new(),
        body: progress.text,
        metadata: progress.effects.metadata.map(text::clean_json),
    });
    // What is shown without a word is an answer, too.
    let judged = answer.as_ref().map(|answer| answer.message_id);
    let judged = judged.or_else(|| shown.first().map(|(_, id)| *id));
    let judging = judged.zip(progress.agent.as_ref());
    let judging = judging.map(|(message_id, agent)| Judging {
        message_id,
        agent: agent.clone(),
        judges: engine.judges.of_answer(agent, message_id),
    });
    let mut last = Frame::last(ending.reason, ending.error.as_ref(), engine.clock.now());
    last.message_id = answer.as_ref().map(|answer| answer.message_id);
    last.agent = progress.agent.clone().map(Into::into);
    let widgets = shown.into_iter().map(stored).collect();
    let spent = progress.spent.plus(progress.asking);
    let spent = (spent != Usage::default()).then(|| {
        let count = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
        (count(spent.input), count(spent.output))
    });
    let (records, last_seq) = log.with_last(last.clone());
    // Where the database has been away for too long already, there is one try more.
    let waited = ending
        .error
        .as_ref()
        .is_some_and(|error| error.code == Code::AnswerNotStored);
    let deadline = Instant::now() + if waited { LAST_TRY } else { FINISH_TIMEOUT };
    let turn = &engine.settings.turn;
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
        judging: judging.filter(|judging| !judging.judges.is_empty()),
        widgets,
        asks: progress.asks,
        with_person: started.mode == Mode::Expert,
        agent: moved,
        state: changed(&started.state, progress.effects.state),
        context: progress.effects.context.map(Value::Object),
        user_name: progress.effects.user_name.map(text::cleaned),
        usage: spent,
        records,
        last_seq,
        log_kept: Duration::from_secs(turn.log_kept_seconds),
        deadline: deadline.into_std(),
    };
    let last = match commit(engine, finish, deadline).await {
        Ok(Finish::Done) => {
            log_lock(started, lock);
            // Whoever writes next finds what is left.
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

/// One line for what became of the session lock.
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

/// What the agents remember, with what has changed; none if nothing has.
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

/// Stores the end of a turn, for as long as a final frame may wait.
async fn commit(engine: &Engine, finish: FinishTurn, deadline: Instant) -> Result<Finish, Error> {
    let finish = Arc::new(finish);
    let stored = write(deadline, || engine.store.finish_turn(Arc::clone(&finish))).await;
    stored.inspect_err(Error::log)
}
