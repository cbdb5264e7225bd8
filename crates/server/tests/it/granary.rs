//! The built binary on a data directory of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A place for a data directory, and commands on it. Nothing is created before a command does so.
pub struct Granary {
    parent: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// A server that is listening. Stopped when dropped.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The first line of its stdout.
    pub announced: String,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Granary {
    pub fn new() -> Granary {
        Granary { parent: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// Sets a variable for every process that is started from now on.
    pub fn with(mut self, variable: &str, value: &str) -> Granary {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn data_dir(&self) -> PathBuf {
        self.parent.path().join("data")
    }

    /// For files beside the data directory; also the working directory of commands.
    pub fn path(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    /// Words are separated by spaces.
    pub fn run(&self, words: &str) -> Ran {
        self.run_with_input(words, "")
    }

    pub fn run_with_input(&self, words: &str, input: &str) -> Ran {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    }

    /// What a command prints that must succeed, without the newline at the end.
    #[track_caller]
    pub fn ok(&self, words: &str) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words}: {ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    /// What a command says that must fail with 1.
    #[track_caller]
    pub fn fails(&self, words: &str) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 1, "{words}: {ran:?}");
        ran.stderr
    }

    /// Starts a server on a free port and waits until it says that it listens.
    pub fn serve(&self) -> Server {
        let mut command = self.command("serve --listen 127.0.0.1:0");
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut announced = String::new();
        stdout.read_line(&mut announced).unwrap();
        assert!(!announced.is_empty(), "the server ended: {}", self.log());
        Server { child, stdout, announced }
    }

    /// What all servers so far have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = program(Path::new(env!("CARGO_BIN_EXE_granary")));
        command.args(words.split(' ')).arg("--data-dir").arg(self.data_dir()).current_dir(self.parent.path());
        let ours = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        command.env_clear().envs(ours);
        command
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop; its exit code and the rest of what it printed.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do if it was stopped or killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// git with no configuration but what is given.
pub fn git(directory: &Path, words: &str) -> String {
    let ran = run_git(directory, words);
    assert_eq!(ran.code, 0, "git {words}: {ran:?}");
    ran.stdout.trim_end().to_owned()
}

/// What git says when it fails, as it must.
pub fn git_fails(directory: &Path, words: &str) -> String {
    let ran = run_git(directory, words);
    assert_ne!(ran.code, 0, "git {words}: {ran:?}");
    ran.stderr
}

fn run_git(directory: &Path, words: &str) -> Ran {
    let mut command = program(Path::new("git"));
    command.args(words.split(' ')).current_dir(directory);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").env("HOME", directory);
    for variable in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        command.env(variable, "t@example.org");
    }
    Ran::from(command.output().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "tests run the built binary, and git as the oracle")]
fn program(path: &Path) -> Command {
    Command::new(path)
}
