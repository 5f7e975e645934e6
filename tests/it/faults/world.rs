//! Three instances, visitors who retry until they are answered, and a checker of all that they received.

mod check;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;

use super::*;
use crate::support::{Mode, Proxy};

const INSTANCES: usize = 3;
/// How long a visitor waits for the next frame before trying another instance.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a visitor tries to get one message answered.
const AT_MOST: Duration = Duration::from_secs(90);

/// Delays of the database's requests or answers.
const SLOW: Duration = Duration::from_millis(100);
const MIN_LATE: Duration = Duration::from_millis(300);
const MAX_LATE: Duration = Duration::from_millis(3_500);

/// The faults of an instance.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Kill,
    Terminate,
    Freeze,
    Cut,
    Stall,
    Slow,
    /// Requests to the database arrive up to 3.5 s late; with `LateAnswers`, its answers do.
    LateRequests,
    LateAnswers,
    LoseAnswer,
    /// The database closes all connections.
    Disconnect,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Kill,
        Self::Terminate,
        Self::Freeze,
        Self::Cut,
        Self::Stall,
        Self::Slow,
        Self::LateRequests,
        Self::LateAnswers,
        Self::LoseAnswer,
        Self::Disconnect,
    ];
}

struct Instance {
    process: Process,
    proxy: Proxy,
}

/// The instances, and the servers that they depend on.
pub struct World {
    database: Database,
    pub llm: FakeLlm,
    http: reqwest::Client,
    instances: RwLock<Vec<Instance>>,
    /// Locks, so that an instance has only one fault at a time.
    happening: [tokio::sync::Mutex<()>; INSTANCES],
    told: Mutex<Told>,
}

/// All that the visitors received.
#[derive(Default)]
struct Told {
    /// Frames by id: two readers must not get different frames with one id.
    frames: HashMap<String, Value>,
    /// Acknowledged messages, with their turns.
    acknowledged: BTreeMap<String, String>,
    /// How turns ended: turn, reason, text of the last attempt.
    ends: Vec<(String, String, String)>,
    /// Messages that were answered as degraded: they are not stored.
    degraded: Vec<String>,
    /// How many answers without a turn the visitors received, or missed because the request failed.
    without_turn: usize,
    wrong: Vec<String>,
}

impl World {
    pub async fn start() -> Self {
        let database = Database::empty(Db::Postgres).await;
        let llm = FakeLlm::start().await;
        llm.chatters(20, Duration::from_millis(15));
        let world = Self {
            database,
            llm,
            http: client(),
            instances: RwLock::default(),
            happening: Default::default(),
            told: Mutex::default(),
        };
        for _ in 0..INSTANCES {
            let instance = world.instance().await;
            world.instances.write().unwrap().push(instance);
        }
        world
    }

    async fn instance(&self) -> Instance {
        let proxy = Proxy::before(&self.database.url).await;
        let base_url = format!("{}/v1", self.llm.url);
        let url = proxy.url.clone();
        let start = move || {
            Process::start(&[
                ("DATABASE_URL", url.as_str()),
                ("OPENAI_BASE_URL", base_url.as_str()),
                ("FRONTDESK_LEASE_SECONDS", "3"),
                ("FRONTDESK_SHUTDOWN_SECONDS", "3"),
                ("FRONTDESK_LIMITS__DEVICE_MESSAGES_PER_MINUTE", "100000"),
                ("FRONTDESK_LIMITS__ADDRESS_MESSAGES_PER_MINUTE", "100000"),
                ("FRONTDESK_LIMITS__DEVICE_REQUESTS_PER_MINUTE", "100000"),
                ("FRONTDESK_TURN__ATTEMPTS", "100"),
            ])
        };
        let process = tokio::task::spawn_blocking(start).await.unwrap();
        Instance { process, proxy }
    }

    /// Applies a fault to an instance, and repairs it after a while. An instance has only one fault at a time.
    pub async fn happen(&self, fault: Fault, at: usize, lasts: Duration) {
        let _alone = self.happening[at].lock().await;
        let signal = |name: &str| self.instances.read().unwrap()[at].process.signal(name);
        let mode = |mode| self.instances.read().unwrap()[at].proxy.set(mode);
        let for_a_while = async |bad| {
            mode(bad);
            sleep(lasts).await;
            mode(Mode::Pass);
        };
        let late = lasts.clamp(MIN_LATE, MAX_LATE);
        match fault {
            Fault::Kill | Fault::Terminate => {
                let new = self.instance().await;
                let old = std::mem::replace(&mut self.instances.write().unwrap()[at], new);
                let stop = move || match fault {
                    Fault::Kill => drop(old.process),
                    _ => assert_eq!(old.process.stop("TERM"), Some(0)),
                };
                tokio::task::spawn_blocking(stop).await.unwrap();
            }
            Fault::Freeze => {
                signal("STOP");
                sleep(lasts).await;
                signal("CONT");
            }
            Fault::Cut => for_a_while(Mode::Cut).await,
            Fault::Stall => for_a_while(Mode::Stall).await,
            Fault::Slow => for_a_while(Mode::LateRequests(SLOW)).await,
            Fault::LateRequests => for_a_while(Mode::LateRequests(late)).await,
            Fault::LateAnswers => for_a_while(Mode::LateAnswers(late)).await,
            Fault::LoseAnswer => mode(Mode::LoseAnswer),
            Fault::Disconnect => self.database.terminate("true").await,
        }
    }

    pub fn url(&self, random: &mut StdRng) -> String {
        let instances = self.instances.read().unwrap();
        instances.choose(random).unwrap().process.url.clone()
    }

    fn wrong(&self, what: String) {
        self.told.lock().unwrap().wrong.push(what);
    }

    /// A visitor who sends one message after another, sometimes three at once.
    pub async fn visit(&self, name: usize, seed: u64, is_over: &AtomicBool) {
        let mut random = StdRng::seed_from_u64(seed ^ name as u64);
        let device = format!("visitor-{name}");
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            let mut say = || {
                count += 1;
                let seed = random.random();
                self.say(&device, format!("{device}: {count}"), seed)
            };
            let (first, second, third) = (say(), say(), say());
            if random.random_bool(0.1) {
                tokio::join!(first, second, third);
            } else {
                first.await;
            }
            sleep(Duration::from_millis(random.random_range(0..200))).await;
        }
    }

    /// Sends a message until any instance answers it.
    async fn say(&self, device: &str, message: String, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let began = Instant::now();
        let stops = random.random_bool(0.05);
        let (mut turn, mut last, mut text) = (String::new(), String::new(), String::new());
        let mut tries = 0;
        while began.elapsed() < AT_MOST {
            tries += 1;
            let url = self.url(&mut random);
            let call = match turn.is_empty() {
                true => {
                    let call = self.http.post(format!("{url}/chat/stream?restart=1"));
                    let call = call.header("Idempotency-Key", message.replace(' ', ""));
                    call.json(&json!({"content": message}))
                }
                false => self
                    .http
                    .get(format!("{url}/chat/stream/{turn}?restart=1"))
                    .header("Last-Event-ID", &last),
            };
            let sent = call.header("X-Device-ID", device).send();
            let Ok(Ok(response)) = tokio::time::timeout(10 * PATIENCE, sent).await else {
                self.told.lock().unwrap().without_turn += 1;
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let mut stream = Stream::of(response);
            match stream.status() {
                200 => {}
                409 | 503 => {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
                status => return self.wrong(format!("{message}: {status}")),
            }
            if turn.is_empty() {
                turn = stream.turn_id();
                if turn.is_empty() {
                    // An instance without its database does not know what an earlier try has stored.
                    let mut told = self.told.lock().unwrap();
                    told.without_turn += 1;
                    told.degraded.extend((tries == 1).then_some(message));
                    return;
                }
                last = format!("{turn}.1:0");
                let mut told = self.told.lock().unwrap();
                told.acknowledged.insert(message.clone(), turn.clone());
            }
            if stops {
                let stop = self.http.delete(format!("{url}/chat/stream/{turn}"));
                drop(stop.header("X-Device-ID", device).send().await);
            }
            let leaves_after = random.random_range(1..200);
            // Some visitors read more slowly than the frames arrive.
            let pause = Duration::from_millis(if random.random_bool(0.1) { 300 } else { 0 });
            for _ in 0..leaves_after {
                sleep(pause).await;
                let next = tokio::time::timeout(PATIENCE, stream.next()).await;
                let Ok(Some(event)) = next else {
                    break;
                };
                self.hear(&message, &last, &event, &mut text);
                last.clone_from(&event.id);
                if event.is_final() {
                    let reason = event.data["finish_reason"].as_str().unwrap().to_owned();
                    return self.told.lock().unwrap().ends.push((turn, reason, text));
                }
            }
        }
        self.wrong(format!("{message}: not answered, after {last}"));
    }

    /// Checks a frame against the one before it, and against what other readers got.
    fn hear(&self, message: &str, last: &str, event: &Event, text: &mut String) {
        let mut told = self.told.lock().unwrap();
        let known = told
            .frames
            .entry(event.id.clone())
            .or_insert(event.data.clone());
        if *known != event.data && !event.id.ends_with(":0") {
            let wrong = format!("{} is {known} and {}", event.id, event.data);
            told.wrong.push(wrong);
        }
        let (before, now) = (place(last), place(&event.id));
        let is_reset = event.data["type"] == "reset";
        let follows = match is_reset || now.0 > before.0 {
            true => now.0 > before.0 && now.1 <= 1,
            false => now == (before.0, before.1 + 1) || (event.is_final() && now.1 == 0),
        };
        if !follows {
            told.wrong
                .push(format!("{message}: {} after {last}", event.id));
        }
        if is_reset {
            text.clear();
        }
        text.push_str(event.content());
    }
}

/// Attempt and number of a frame's id.
fn place(id: &str) -> (u32, u32) {
    let (_, place) = id.split_once('.').unwrap();
    let (attempt, seq) = place.split_once(':').unwrap();
    (attempt.parse().unwrap(), seq.parse().unwrap())
}
