//! Compares what the visitors received with what is stored.

use super::*;

impl World {
    /// Compares all that the visitors received with the database and with the model server's journal.
    pub async fn check(self) -> String {
        let running = "conversations where running_turn is not null";
        let mut tries = 0;
        while self.database.count(running.into()).await > 0 {
            tries += 1;
            assert!(tries < 200, "a turn is never finished");
            sleep(Duration::from_millis(100)).await;
        }
        let devices: Vec<String> = {
            let told = self.told.lock().unwrap();
            let device = |message: &String| message.split(':').next().unwrap().to_owned();
            told.acknowledged.keys().map(device).collect()
        };
        let mut stored: Vec<Value> = Vec::new();
        let mut random = StdRng::seed_from_u64(0);
        for device in devices.iter().collect::<std::collections::BTreeSet<_>>() {
            let (here, there) = (self.url(&mut random), self.url(&mut random));
            let history = self.history(&here, device).await;
            assert_eq!(history, self.history(&there, device).await);
            stored.extend(history);
        }
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        for (message, turn) in &told.acknowledged {
            let found = stored
                .iter()
                .filter(|stored| stored["content"] == **message);
            let found: Vec<_> = found
                .map(|stored| stored["turn_id"].as_str().unwrap())
                .collect();
            if found != [turn] {
                told.wrong
                    .push(format!("{message} of {turn} is stored in {found:?}"));
            }
        }
        let is_stored = |message: &&String| stored.iter().any(|it| it["content"] == ***message);
        let kept = told.degraded.iter().filter(is_stored);
        let kept: Vec<String> = kept
            .map(|message| format!("{message} was not to be kept, and is stored"))
            .collect();
        told.wrong.extend(kept);
        let mut answers: HashMap<&str, Vec<&str>> = HashMap::new();
        for answer in stored.iter().filter(|stored| stored["role"] == "assistant") {
            let of_turn = answers
                .entry(answer["turn_id"].as_str().unwrap())
                .or_default();
            of_turn.push(answer["content"].as_str().unwrap());
        }
        for (turn, reason, text) in &told.ends {
            let answer = answers
                .get(turn.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            let fits = match reason.as_str() {
                "stop" => answer == [text],
                "cancelled" => answer.concat() == *text,
                "merged" => text.is_empty(),
                _ => false,
            };
            if !fits {
                told.wrong.push(format!(
                    "{turn} ended as {reason} with {text:?}, and {answer:?} is stored"
                ));
            }
        }
        let twice = answers.iter().filter(|(_, answers)| answers.len() > 1);
        let twice: Vec<String> = twice
            .map(|(turn, _)| format!("{turn} is answered twice"))
            .collect();
        told.wrong.extend(twice);
        let turns = "turns where merged_into is null";
        let turns = self.database.count(turns.into()).await;
        let attempts = "turns, generate_series(1, attempt) where merged_into is null";
        let attempts = self.database.count(attempts.into()).await;
        let completed = i64::try_from(self.llm.completed()).unwrap();
        let most = attempts + i64::try_from(told.without_turn).unwrap();
        if completed > most {
            told.wrong
                .push(format!("{completed} answers for {most} attempts"));
        }
        assert!(told.wrong.is_empty(), "{:#?}", told.wrong);
        let merged = told
            .ends
            .iter()
            .filter(|(_, reason, _)| reason == "merged")
            .count();
        format!(
            "{} messages, {turns} turns, {merged} merged, {} not kept, {} adopted, {} frames: nothing lost, nothing twice",
            told.acknowledged.len(),
            told.degraded.len(),
            attempts - turns,
            told.frames.len(),
        )
    }

    /// All messages of a device's current conversation, oldest first.
    async fn history(&self, url: &str, device: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let before = all
                .first()
                .map(|first| format!("&before={}", first["id"].as_str().unwrap()));
            let path = format!("{url}/chat/history?limit=50{}", before.unwrap_or_default());
            let page = self.page(&path, device).await;
            let messages = page["messages"].as_array().unwrap().iter().cloned();
            all.splice(..0, messages);
            if page["has_more"] != true {
                return all;
            }
        }
    }

    /// Reads a page, retrying until the instance has its database back.
    async fn page(&self, url: &str, device: &str) -> Value {
        let mut tries = 0;
        loop {
            let call = self.http.get(url).header("X-Device-ID", device);
            let said = Said::of(call.send().await.unwrap()).await;
            if said.status == 200 {
                return said.json();
            }
            tries += 1;
            assert!(said.status == 503 && tries < 100, "{url}: {}", said.text);
            sleep(Duration::from_millis(100)).await;
        }
    }
}
