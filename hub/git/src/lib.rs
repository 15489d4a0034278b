//! Git for the hub: fetch into a mirror, read a commit as a value, and know when to look again.
//!
//! Foreign servers and packs are met in a child process of the same program, which has a deadline,
//! an environment of its own, access to little more than the mirror, and no way to outlive its
//! parent. There credentials are read and signatures checked. For that, `main` begins with
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     if let Some(code) = hub_git::child_main() {
//!         return code;
//!     }
//!     // the program itself
//!     std::process::ExitCode::SUCCESS
//! }
//! ```
//!
//! What is read afterwards comes from the mirror, a bare repository below the hub's directory.
//! Nothing is checked out, and no Git configuration of the user or the system is read.

mod child;
mod confine;
mod credentials;
mod error;
mod fetcher;
mod history;
mod local;
mod mirror;
mod read;
mod remote;
mod schedule;
mod source;
mod ssh;
mod verify;
mod watch;

pub use child::{CHILD_ARG, child_main, child_run};
pub use credentials::{WEBHOOK, access, credentials_folder};
pub use error::{Distrust, FetchError, ReadError};
pub use fetcher::{Fetcher, fetch};
pub use history::{CommitInfo, commit_info, is_descendant, resolve};
pub use read::{Tree, fill, read, sizes};
pub use schedule::{Failure, Place, Schedule};
pub use source::{Fetched, Signers, Source, host, place};
