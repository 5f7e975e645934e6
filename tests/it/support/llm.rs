//! A fake model server: the vendors' wire formats over a socket, with scripted pauses, cuts and
//! refusals. It records its requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use super::request::{Request, read_request};
use super::wire::{calls_event, end_event, text_event, usage_event};

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct FakeLlm {
    pub url: String,
    state: Arc<Mutex<State>>,
    /// One permit ends one pause.
    go: Arc<Semaphore>,
    closed: watch::Sender<u32>,
}

#[derive(Default)]
struct State {
    scripts: VecDeque<Vec<Step>>,
    manager_fails: bool,
    manager_babbles: bool,
    manager_talks: bool,
    /// As a judge, the model fails answers with this word.
    forbidden: Option<String>,
    connections: usize,
    journal: Vec<Request>,
    /// Answers without a script: the number of words, and the time between them.
    chatter: Option<(usize, Duration)>,
    /// How many answers were sent to their end.
    completed: usize,
}

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// A piece of text, in the vendor's format.
    Text(String),
    /// Calls of tools (id, name, arguments), in the vendor's format.
    Calls(Vec<[String; 3]>),
    /// Token usage: tokens read and written.
    Usage(u64, u64),
    /// The end of an answer, in the vendor's format.
    Finish(&'static str),
    /// Raw bytes of the body.
    Raw(Vec<u8>),
    /// Waits for `go_on`.
    Pause,
    /// These bytes every 100 ms, 100 times or until the client hangs up.
    Drip(Vec<u8>),
    /// Waits this long.
    Sleep(Duration),
    /// Closes the connection without an end.
    Cut,
    /// A head other than an event stream's: status line, headers.
    Head(String),
}

impl FakeLlm {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let llm = Self {
            url,
            state: Arc::default(),
            go: Arc::new(Semaphore::new(0)),
            closed: watch::Sender::new(0),
        };
        let server = llm.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(socket).await });
            }
        });
        llm
    }

    /// Scripts the next answer: these pieces, and the end.
    pub fn says<const N: usize>(&self, pieces: [&str; N]) -> &Self {
        let text = pieces.map(|piece| Step::Text(piece.to_owned()));
        self.script(text.into_iter().chain([Step::Finish("stop")]))
    }

    /// Scripts the next answer: this text, and tool calls (id, name, arguments).
    pub fn calls<const N: usize>(&self, text: &str, calls: [[&str; 3]; N]) -> &Self {
        let calls = calls.map(|call| call.map(str::to_owned)).to_vec();
        let text = (!text.is_empty()).then(|| Step::Text(text.to_owned()));
        let end = [Step::Calls(calls), Step::Finish("tool_calls")];
        self.script(text.into_iter().chain(end))
    }

    /// Scripts the next answer, step by step.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) -> &Self {
        self.state
            .lock()
            .unwrap()
            .scripts
            .push_back(steps.into_iter().collect());
        self
    }

    /// Scripts the next answer: this status and body.
    pub fn refuses(&self, status: u16, headers: &str, body: &str) -> &Self {
        let head = format!("HTTP/1.1 {status} Refused\r\n{headers}");
        self.script([Step::Head(head), Step::Raw(body.as_bytes().to_vec())])
    }

    /// The answer that was scripted last pauses after this many pieces.
    pub fn pause_after(&self, pieces: usize) -> &Self {
        self.state
            .lock()
            .unwrap()
            .scripts
            .back_mut()
            .unwrap()
            .insert(pieces, Step::Pause);
        self
    }

    /// The answer that was scripted last is cut after this many pieces.
    pub fn cut_after(&self, pieces: usize) -> &Self {
        let mut state = self.state.lock().unwrap();
        let script = state.scripts.back_mut().unwrap();
        script.truncate(pieces);
        script.push(Step::Cut);
        self
    }

    /// Answers without a script have this many words, this far apart, different ones each time;
    /// sometimes ten times as many.
    pub fn chatters(&self, words: usize, apart: Duration) {
        self.state.lock().unwrap().chatter = Some((words, apart));
    }

    /// How many answers were sent to their end.
    pub fn completed(&self) -> usize {
        self.state.lock().unwrap().completed
    }

    /// From now on, the manager's requests are refused.
    pub fn manager_fails(&self) {
        self.state.lock().unwrap().manager_fails = true;
    }

    /// From now on, the answers to the manager's requests have no end.
    pub fn manager_babbles(&self) {
        self.state.lock().unwrap().manager_babbles = true;
    }

    /// From now on, the manager's requests are answered with text, not with a tool call.
    pub fn manager_talks(&self) {
        self.state.lock().unwrap().manager_talks = true;
    }

    /// The manager's last request.
    pub fn manager_asked(&self) -> Value {
        let journal = self.state.lock().unwrap().journal.clone();
        let mut asked = journal.into_iter().rev();
        asked
            .find(|request| is_manager(&request.body))
            .unwrap()
            .body
    }

    /// As a judge, the model passes every answer without this word.
    pub fn forbids(&self, word: &str) {
        self.state.lock().unwrap().forbidden = Some(word.to_owned());
    }

    /// The cases that it was asked to judge so far.
    pub fn judged(&self) -> Vec<Value> {
        let journal = self.state.lock().unwrap().journal.clone();
        let judged = journal.iter().filter_map(|request| case(&request.body));
        judged.collect()
    }

    /// Drops the scripts that were not used.
    pub fn forget_scripts(&self) {
        self.state.lock().unwrap().scripts.clear();
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Ends one pause: a current one, or the next.
    pub fn go_on(&self) {
        self.go.add_permits(1);
    }

    /// Waits until a client has closed a connection during a pause.
    pub async fn hung_up(&self) {
        let mut closed = self.closed.subscribe();
        timeout(Duration::from_secs(1), closed.wait_for(|count| *count > 0))
            .await
            .expect("the call is closed within a second")
            .unwrap();
    }

    /// The requests so far, without those of the manager and of judges.
    pub fn asked(&self) -> Vec<Request> {
        let journal = self.state.lock().unwrap().journal.clone();
        journal
            .into_iter()
            .filter(|request| !is_manager(&request.body) && case(&request.body).is_none())
            .collect()
    }

    /// The number of the manager's requests.
    pub fn routed(&self) -> usize {
        let journal = self.state.lock().unwrap().journal.clone();
        let asked = journal.iter().filter(|request| is_manager(&request.body));
        asked.count()
    }

    async fn serve(&self, socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        self.state.lock().unwrap().connections += 1;
        let mut socket = BufReader::new(socket);
        while let Some(request) = read_request(&mut socket).await {
            let script = self.script_for(&request);
            self.state.lock().unwrap().journal.push(request.clone());
            if self.answer(&mut socket, &request, script).await.is_none() {
                return;
            }
            let is_answer = !is_manager(&request.body);
            self.state.lock().unwrap().completed += usize::from(is_answer);
        }
    }

    fn script_for(&self, request: &Request) -> Vec<Step> {
        if is_manager(&request.body) {
            if self.state.lock().unwrap().manager_fails {
                return vec![Step::Head("HTTP/1.1 403 Forbidden\r\n".into())];
            }
            if self.state.lock().unwrap().manager_babbles {
                return vec![Step::Drip(
                    text_event(false, &"no idea ".repeat(300)).into_bytes(),
                )];
            }
            let choice = ["1", "choose_agent", r#"{"agent": "scheduling"}"#];
            let calls = vec![choice.map(str::to_owned)];
            return match self.state.lock().unwrap().manager_talks {
                true => vec![Step::Text("scheduling".into()), Step::Finish("stop")],
                false => vec![Step::Calls(calls), Step::Finish("tool_calls")],
            };
        }
        if let Some(case) = case(&request.body) {
            return self.opinion(&case);
        }
        let mut state = self.state.lock().unwrap();
        if let Some(script) = state.scripts.pop_front() {
            return script;
        }
        let (words, apart) = state.chatter.unwrap_or_default();
        if words == 0 {
            return vec![Step::Text("Very well.".into()), Step::Finish("stop")];
        }
        let call = state.journal.len();
        let words = if call % 8 == 7 { 10 * words } else { words };
        let words = (0..words).flat_map(|word| {
            let text = format!("{call}.{word} ");
            [Step::Text(text), Step::Sleep(apart)]
        });
        words.chain([Step::Finish("stop")]).collect()
    }

    fn opinion(&self, case: &Value) -> Vec<Step> {
        let forbidden = self.state.lock().unwrap().forbidden.clone();
        let answer = case["answer"].as_str().unwrap();
        let opinion = match forbidden.filter(|word| answer.contains(word)) {
            Some(word) => format!(r#"{{"reason": "It says {word}.", "score": 0}}"#),
            None => r#"{"reason": "Fine.", "score": 1}"#.to_owned(),
        };
        let call = ["1", "give_opinion", &opinion].map(str::to_owned);
        vec![
            Step::Calls(vec![call]),
            Step::Usage(50, 5),
            Step::Finish("tool_calls"),
        ]
    }

    /// Plays a script; `None` if the connection is closed.
    async fn answer(
        &self,
        socket: &mut BufReader<TcpStream>,
        request: &Request,
        script: Vec<Step>,
    ) -> Option<()> {
        let anthropic = request.path.ends_with("/messages");
        let head = match script.first() {
            Some(Step::Head(head)) => format!("{head}\r\n"),
            _ => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n".to_owned(),
        };
        write(
            socket,
            format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", head.trim_end()).as_bytes(),
        )
        .await?;
        for step in script {
            match step {
                Step::Head(_) => {}
                Step::Text(text) => chunk(socket, text_event(anthropic, &text).as_bytes()).await?,
                Step::Calls(calls) => {
                    chunk(socket, calls_event(anthropic, &calls).as_bytes()).await?
                }
                Step::Finish(reason) => {
                    chunk(socket, end_event(anthropic, reason).as_bytes()).await?
                }
                Step::Usage(read, written) => {
                    let usage = usage_event(anthropic, read, written);
                    chunk(socket, usage.as_bytes()).await?
                }
                Step::Raw(bytes) => chunk(socket, &bytes).await?,
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::Cut => return None,
                Step::Drip(bytes) => {
                    for _ in 0..100 {
                        chunk(socket, &bytes).await?;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                Step::Pause => self.wait(socket).await?,
            }
        }
        write(socket, b"0\r\n\r\n").await
    }

    /// Waits until `go_on` is called or the client hangs up.
    async fn wait(&self, socket: &mut BufReader<TcpStream>) -> Option<()> {
        let mut byte = [0];
        tokio::select! {
            permit = self.go.acquire() => permit.ok().map(|permit| permit.forget()),
            _ = socket.read(&mut byte) => {
                self.closed.send_modify(|count| *count += 1);
                None
            }
        }
    }
}

/// The case to judge, if this is a judge's request.
fn case(body: &Value) -> Option<Value> {
    if !body.to_string().contains("You judge answers") {
        return None;
    }
    let last = &body["messages"].as_array()?.last()?["content"];
    serde_json::from_str(last.as_str().or(last[0]["text"].as_str())?).ok()
}

fn is_manager(body: &Value) -> bool {
    body.to_string().contains("You are the manager")
}

async fn chunk(socket: &mut BufReader<TcpStream>, bytes: &[u8]) -> Option<()> {
    if bytes.is_empty() {
        // An empty chunk would end the body, and the real end would be read as another response.
        return Some(());
    }
    write(
        socket,
        &[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
    )
    .await
}

async fn write(socket: &mut BufReader<TcpStream>, bytes: &[u8]) -> Option<()> {
    socket.write_all(bytes).await.ok()
}
