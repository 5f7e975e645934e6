//! The binary as a process of its own, for tests of signals, limits and memory.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Once},
};

/// A running `frontdesk serve`. Killed with its test.
pub struct Process {
    child: Child,
    pub url: String,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the server with only these environment variables, on a free port.
    pub fn start(env: &[(&str, &str)]) -> Self {
        Self::start_in(&std::env::temp_dir(), env)
    }

    /// The same, in this directory.
    pub fn start_in(directory: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = command(env!("CARGO_BIN_EXE_frontdesk").as_ref());
        command.args(["serve", "--port", "0"]);
        Self::spawn(command, directory, env)
    }

    /// Starts the server under a shell's `ulimit`: "-S -n 128" sets the soft limit of open files, which the server can
    /// raise; "-n 128" sets the hard limit, too.
    pub fn with_ulimit(limit: &str, env: &[(&str, &str)]) -> Self {
        let mut command = command("/bin/sh".as_ref());
        let limited = format!("ulimit {limit} && exec \"$0\" serve --port 0");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_frontdesk")]);
        Self::spawn(command, &std::env::temp_dir(), env)
    }

    /// Starts an example program, on a database of its own.
    pub fn example(name: &str, directory: &Path, env: &[(&str, &str)]) -> Self {
        static BUILT: Once = Once::new();
        // A run of a single test does not build the examples.
        BUILT.call_once(|| {
            let mut cargo = Command::new(env!("CARGO"));
            let built = cargo.args(["build", "--quiet", "--examples"]).status();
            assert!(built.unwrap().success());
        });
        let binary = Path::new(env!("CARGO_BIN_EXE_frontdesk"));
        let mut command = command(&binary.with_file_name("examples").join(name));
        command.env("PORT", "0");
        Self::spawn(command, directory, env)
    }

    fn spawn(mut command: Command, directory: &Path, env: &[(&str, &str)]) -> Self {
        let mut child = command
            .current_dir(directory)
            .envs(env.iter().copied())
            .env("FRONTDESK_LOG", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let url = lines.find_map(|line| {
            before.push_str(&(line.unwrap() + "\n"));
            let line: serde_json::Value = serde_json::from_str(before.lines().last()?).ok()?;
            line["address"].as_str().map(str::to_owned)
        });
        let log = Arc::new(Mutex::new(String::new()));
        let logged = Arc::clone(&log);
        // Keeps reading, so that the process never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                logged.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self {
            child,
            url: url.unwrap_or_else(|| panic!("the server does not listen: {before}")),
            log,
        }
    }

    /// Its log since it began to listen.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let held = held.and_then(|held| held.split_whitespace().next()?.parse().ok());
        held.expect("the kernel tells it")
    }

    /// SIGKILL, as the kernel or a platform sends it.
    pub fn kill(mut self) {
        self.signal("KILL");
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Sends a signal by its name and waits for the exit; the exit code.
    pub fn stop(self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// Waits for the exit; the exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Runs a command to its end; its exit code and its output.
    pub fn run(arguments: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
        let directory = tempfile::tempdir().unwrap();
        let done = command(env!("CARGO_BIN_EXE_frontdesk").as_ref())
            .args(arguments)
            .current_dir(directory.path())
            .envs(env.iter().copied())
            .output()
            .unwrap();
        let mut text = String::new();
        done.stdout
            .as_slice()
            .chain(done.stderr.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        (done.status.code(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().stdin(Stdio::null());
    command
}
