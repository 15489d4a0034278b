//! What can go wrong between this program and the hub, and the exit code of each.

use std::process::ExitCode;

use tonic::Code;

/// Why the hub did not do what was asked. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address of the context answers.
    #[error(
        "the hub cannot be reached: {reasons}\n\
         check that drover-hub runs and that {context} belongs to it; another context is named with --context"
    )]
    Unreachable {
        /// Address by address.
        reasons: String,
        /// The context file.
        context: String,
    },
    /// The hub does not let this operator.
    #[error("the hub refuses: {0}\nuse the context of an operator who may, with --context or $DROVER_CONTEXT")]
    Forbidden(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The hub understood and said no.
    #[error("{0}")]
    Refused(String),
    /// A spoke was to be asked, and gave no answer.
    #[error("{0}")]
    Unanswered(String),
    /// Something that was looked at is not as it should be, and was told already.
    #[error("{0}")]
    Unfulfilled(String),
}

impl Error {
    /// What an answer of the hub means, if trying again cannot help.
    #[must_use]
    pub fn of_answer(status: &tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::Forbidden(message),
            Code::NotFound => Self::NotFound(message),
            Code::Unimplemented => Self::Refused(format!(
                "{message}: this hub does not know the command; use the drover of the hub's own version"
            )),
            code if message.is_empty() => {
                Self::Refused(format!("the hub answers {code:?} without a reason; its log has it"))
            }
            _ => Self::Refused(message),
        }
    }

    /// Documented in docs/commands.md.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) | Self::Unfulfilled(_) => 1,
            Self::Unreachable { .. } => 3,
            Self::Forbidden(_) => 4,
            Self::NotFound(_) => 5,
            Self::Unanswered(_) => 8,
        })
    }
}

/// The exit code of a run that ended with this error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(ExitCode::FAILURE, Error::exit_code)
}
