//! A part of a run in a process of its own: it is told words on its stdin, one a line, and answers each with a line of
//! JSON.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value as Json;
use tests_tools::{process, sys};
use tokio::sync::mpsc;

/// A part that runs; killed when dropped.
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this program as one of its parts.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot tell where this program lies")?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = process::spawn(command)?;
        let input = process.stdin.take().context("no stdin")?;
        let output = BufReader::new(process.stdout.take().context("no stdout")?);
        Ok(Self { process, input, output })
    }

    /// Its process id.
    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Says a word; the answer comes with [`Child::hear`].
    ///
    /// # Errors
    /// It ended.
    pub(crate) fn say(&mut self, word: &str) -> Result<()> {
        writeln!(self.input, "{word}").and_then(|()| self.input.flush()).context("a part of the run ended")
    }

    /// The next line of JSON that it prints.
    ///
    /// # Errors
    /// It ended, or prints something else.
    pub(crate) fn hear(&mut self) -> Result<Json> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("a part of the run ended")?;
        serde_json::from_str(&line).with_context(|| format!("a part of the run says {line:?}"))
    }

    /// Says a word and waits for its answer.
    ///
    /// # Errors
    /// It ended.
    pub(crate) fn ask(&mut self, word: &str) -> Result<Json> {
        self.say(word)?;
        self.hear()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It ended.
    pub(crate) fn signal(&self, number: i32) -> Result<()> {
        sys::send_signal(self.pid(), number).context("a part of the run ended")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The only failure is a process that is gone, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Prints an answer, in a part.
#[allow(clippy::print_stdout, reason = "the way that the run hears of it")]
pub(crate) fn answer(answer: &Json) {
    println!("{answer}");
}

/// The words that a part is told, until the run has no more.
#[must_use]
pub(crate) fn words() -> mpsc::Receiver<String> {
    let (sender, words) = mpsc::channel(1);
    // A thread of its own: reading stdin blocks, and ends with the process.
    std::thread::spawn(move || {
        for word in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(word).is_err() {
                return;
            }
        }
    });
    words
}
