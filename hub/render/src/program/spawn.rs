//! Starts children from one thread that lives as long as this process: the kernel ties a child to
//! the *thread* that started it, and threads of a runtime come and go.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a command.
///
/// # Errors
/// The system refuses.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        let serve = move || {
            for (mut command, reply) in requests {
                // Whoever asked may be gone; then the handle is dropped here.
                let _ = reply.send(command.spawn());
            }
        };
        // Where no thread can be made, the receiver goes with the closure and each request fails.
        let _ = thread::Builder::new().name("render-spawner".into()).spawn(serve);
        sender
    });
    let lost = || io::Error::other("the thread that starts programs is gone");
    let (reply, answer) = channel();
    spawner.send((command, reply)).map_err(|_| lost())?;
    answer.recv().map_err(|_| lost())?
}
