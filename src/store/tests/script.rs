//! Random scripts of what visitors, agents and experts do, the same for every path.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;

use super::{
    super::{
        ConversationId, ExpertId, FrameSeq, InstanceId, LimitKey, MessageId, Owner, TurnId, UserId,
        adopt::Adopt,
        assignments::{Claim, PartialAnswer, Release, ReleaseTo, TruncatedAnswer},
        audit::Actor,
        begin::{BeginTurn, SendState, Started, UserMessage},
        jobs::Judging,
        logs::NewLogSegment,
        messages::{FinishReason, SystemMessage},
        sessions::{LockRequest, Within},
        turns::{AnswerMessage, FinishTurn, WidgetMessage},
    },
    instances,
};
use crate::clock::Timestamp;

const LEASE_TIME: Duration = Duration::from_secs(10);
const LOG_KEPT: Duration = Duration::from_secs(3_600);
const DEVICES: usize = 5;
/// How many messages a device may write in a minute.
const LIMIT: u32 = 6;

/// One step of a script.
#[derive(Debug)]
pub enum ScriptStep {
    Begin(Vec<Arc<BeginTurn>>),
    Finish(Vec<Arc<FinishTurn>>),
    Log(Vec<NewLogSegment>),
    Renew(InstanceId, Vec<TurnId>, Duration),
    Stop(TurnId),
    Claim(Claim),
    Release(Release),
    Adopt(Adopt),
    Advance(i64),
}

/// What a caller gets.
pub struct Outcome {
    pub told: String,
    pub started: Option<Started>,
}

impl Outcome {
    pub fn told(outcome: &impl Debug) -> Self {
        Self {
            told: format!("{outcome:?}"),
            started: None,
        }
    }

    pub fn with(mut self, started: Started) -> Self {
        self.started = Some(started);
        self
    }
}

/// Generates a script step by step, from the outcomes so far.
pub struct Author {
    random: StdRng,
    instances: [InstanceId; 2],
    pub experts: [ExpertId; 2],
    /// The attempts that began, and how many frames of each are in the durable log.
    started: Vec<(Started, FrameSeq)>,
}

impl Author {
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            instances: instances(),
            experts: [ExpertId::new(), ExpertId::new()],
            started: Vec::new(),
        }
    }

    pub fn learn(&mut self, outcomes: Vec<Outcome>) {
        let started = outcomes.into_iter().filter_map(|outcome| outcome.started);
        self.started
            .extend(started.map(|started| (started, FrameSeq::START)));
    }

    pub fn next(&mut self, now: Timestamp) -> ScriptStep {
        match self.random.random_range(0..100) {
            0..35 => self.begin(),
            35..60 => self.finish(),
            60..70 => self.log(),
            70..75 => {
                let turns = self.recent().map(|(started, _)| started.turn_id).collect();
                ScriptStep::Renew(self.instances[0], turns, LEASE_TIME)
            }
            75..78 => ScriptStep::Stop(self.pick().map_or(TurnId::new(), |turn| turn.turn_id)),
            78..82 => self.claim(now),
            82..86 => self.release(),
            86..90 => ScriptStep::Adopt(Adopt {
                turn_id: self.pick().map_or(TurnId::new(), |turn| turn.turn_id),
                instance: self.instances[1],
                lease: LEASE_TIME,
                attempts: self.random.random_range(1..=2),
                history: 20,
            }),
            90..98 => ScriptStep::Advance(*[1, 5, 15, 70].choose(&mut self.random).unwrap()),
            // Sessions and idempotency keys expire.
            _ => ScriptStep::Advance(25 * 3_600),
        }
    }

    /// The newest attempts, a few of which still run.
    fn recent(&self) -> impl Iterator<Item = &(Started, FrameSeq)> {
        self.started.iter().rev().take(8)
    }

    fn pick(&mut self) -> Option<Started> {
        let recent: Vec<_> = self.started.iter().rev().take(8).collect();
        let picked = recent.choose(&mut self.random);
        picked.map(|(started, _)| started.clone())
    }

    fn begin(&mut self) -> ScriptStep {
        let mut devices: Vec<usize> = (0..DEVICES).collect();
        let count = self.random.random_range(1..=DEVICES);
        while devices.len() > count {
            let at = self.random.random_range(0..devices.len());
            devices.remove(at);
        }
        let turns = devices
            .into_iter()
            .map(|device| Arc::new(self.turn(device)));
        ScriptStep::Begin(turns.collect())
    }

    fn turn(&mut self, device: usize) -> BeginTurn {
        let device = match device {
            0 => Owner::of_user("uma"),
            other => Owner::parse(&format!("device-{other}")).unwrap(),
        };
        let agent = self.random.random_bool(0.2).then(|| {
            ["sales", "support"]
                .choose(&mut self.random)
                .unwrap()
                .to_string()
        });
        let mut keys = vec!["one", "two", "three"];
        let earlier = match self.random.random_bool(0.15) {
            true => self.random.random_range(1..=2),
            false => 0,
        };
        let earlier: Vec<UserMessage> = (0..earlier).map(|_| self.said(&mut keys)).collect();
        BeginTurn {
            turn_id: TurnId::new(),
            new_user: UserId::new(),
            lock: LockRequest {
                limit_key: LimitKey(format!("key of {}", device.as_str())),
                device,
                within: Within::Session,
                new_conversation: ConversationId::new(),
                agent_ttl: agent.as_ref().map(|_| Duration::from_secs(600)),
                agent,
                default_ttl: Duration::from_secs(86_400),
                messages: 1 + u32::try_from(earlier.len()).unwrap(),
                limit: Some(LIMIT),
            },
            instance: self.instances[0],
            lease: LEASE_TIME,
            said: self.said(&mut keys),
            earlier,
            context: None,
            history: 20,
            deadline: Instant::now() + Duration::from_secs(3_600),
            sent: Arc::new(SendState::default()),
        }
    }

    fn said(&mut self, keys: &mut Vec<&str>) -> UserMessage {
        let key = self.random.random_bool(0.4).then(|| {
            let at = self.random.random_range(0..keys.len());
            keys.remove(at).to_owned()
        });
        UserMessage {
            id: MessageId::new(),
            body: format!("Message {}", self.random.random_range(0..1_000)),
            media_urls: json!(["https://example.org/a.png"]),
            audio_urls: json!([]),
            metadata: self.random.random_bool(0.2).then(|| json!({"page": "/"})),
            answers: None,
            request_hash: vec![self.random.random_range(0..2)],
            key,
        }
    }

    fn finish(&mut self) -> ScriptStep {
        let mut conversations = BTreeSet::new();
        let count = self.random.random_range(1..=4);
        let picked: Vec<Started> = (0..count).filter_map(|_| self.pick()).collect();
        let turns = picked
            .into_iter()
            .filter(|turn| conversations.insert(turn.conversation_id))
            .map(|turn| Arc::new(self.end_of(&turn)));
        ScriptStep::Finish(turns.collect())
    }

    fn end_of(&mut self, turn: &Started) -> FinishTurn {
        let message_id = MessageId::new();
        let mut maybe = |likely| self.random.random_bool(likely);
        let answer = maybe(0.8).then(|| AnswerMessage {
            message_id,
            body: "An answer".to_owned(),
            metadata: maybe(0.1).then(|| json!({"source": "shop"})),
        });
        let widget = WidgetMessage {
            message_id: MessageId::new(),
            kind: "confirm",
            data: json!({"question": "Really?"}),
            text: "Really?".to_owned(),
            confirms: None,
        };
        FinishTurn {
            turn_id: turn.turn_id,
            attempt: turn.attempt,
            conversation_id: turn.conversation_id,
            user_id: turn.user_id,
            device: turn.device.clone(),
            fence: turn.fence,
            finish_reason: match answer {
                Some(_) => FinishReason::Stop,
                None => FinishReason::Error,
            },
            error_code: answer.is_none().then(|| "upstream_error".to_owned()),
            judging: maybe(0.2).then(|| Judging {
                message_id,
                agent: "support".to_owned(),
                judges: vec!["tone".to_owned()],
            }),
            answer,
            widgets: maybe(0.15).then_some(widget).into_iter().collect(),
            asks: None,
            with_person: maybe(0.1),
            agent: maybe(0.4).then(|| ("support".to_owned(), Duration::from_secs(1_200))),
            state: maybe(0.3).then(|| json!({"support": {"name": "Jo"}})),
            context: maybe(0.2).then(|| json!({"plan": "gold"})),
            user_name: maybe(0.2).then(|| "Jo".to_owned()),
            usage: maybe(0.5).then_some((10, 20)),
            records: b"{}\n".to_vec(),
            last_seq: FrameSeq(7),
            log_kept: LOG_KEPT,
            deadline: Instant::now() + Duration::from_secs(3_600),
        }
    }

    fn log(&mut self) -> ScriptStep {
        let mut conversations = BTreeSet::new();
        let recent = self.started.iter_mut().rev().take(8);
        let pieces = recent.filter(|(turn, _)| conversations.insert(turn.conversation_id));
        let pieces = pieces.map(|(turn, written)| {
            let first_seq = written.next();
            *written = FrameSeq(written.0 + 2);
            NewLogSegment {
                turn_id: turn.turn_id,
                conversation_id: turn.conversation_id,
                fence: turn.fence,
                attempt: turn.attempt,
                first_seq,
                last_seq: *written,
                records: b"{}\n{}\n".to_vec(),
            }
        });
        ScriptStep::Log(pieces.collect())
    }

    fn claim(&mut self, now: Timestamp) -> ScriptStep {
        let turn = self.pick();
        ScriptStep::Claim(Claim {
            conversation: turn.map_or(ConversationId::new(), |turn| turn.conversation_id),
            expert: *self.experts.choose(&mut self.random).unwrap(),
            actor: actor("claim"),
            line: line("Eva is with you now."),
            log_kept: LOG_KEPT,
            now,
            truncate: truncated,
        })
    }

    fn release(&mut self) -> ScriptStep {
        let turn = self.pick();
        ScriptStep::Release(Release {
            conversation: turn.map_or(ConversationId::new(), |turn| turn.conversation_id),
            expert: None,
            actor: actor("release"),
            to: match self.random.random_bool(0.5) {
                true => ReleaseTo::Agents(line("An agent answers again.")),
                false => ReleaseTo::Settled(line("This is settled.")),
            },
            notify: Vec::new(),
        })
    }
}

fn actor(action: &'static str) -> Actor {
    Actor {
        sub: "eva".to_owned(),
        role: "expert",
        action,
    }
}

fn line(text: &str) -> SystemMessage {
    SystemMessage {
        id: MessageId::new(),
        text: text.to_owned(),
        note: None,
        retracts: Vec::new(),
    }
}

/// Keeps what is stored of an answer, under an id that is the same on every path.
fn truncated(partial: PartialAnswer) -> TruncatedAnswer {
    let keep = FrameSeq::of(partial.pieces.len());
    TruncatedAnswer {
        answer: (keep > FrameSeq::START).then(|| AnswerMessage {
            message_id: MessageId(partial.turn_id.0),
            body: "The beginning".to_owned(),
            metadata: None,
        }),
        widgets: Vec::new(),
        records: partial
            .pieces
            .into_iter()
            .flat_map(|piece| piece.records)
            .collect(),
        last_seq: keep.next(),
        keep,
    }
}
