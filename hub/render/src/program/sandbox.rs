//! What the kernel takes away from this process and all that it becomes: the network, and every
//! file that is not named. What a kernel does not offer is left out, and told.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::thread::UnshareFlags;

use super::child::Enforced;

/// What a program that is not linked statically needs of the system.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
/// Devices without content.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// Goes into a network namespace that has nothing in it, not even loopback that is up. Whether it
/// was let.
#[allow(unsafe_code, reason = "the flags decide whether unsharing is safe, so the call is unsafe")]
pub(super) fn leave_network() -> bool {
    // With a user namespace, nobody needs to be root for it.
    [UnshareFlags::NEWUSER | UnshareFlags::NEWNET, UnshareFlags::NEWNET]
        .into_iter()
        // SAFETY: neither flag touches the table of file descriptors, which is what could break.
        .any(|flags| unsafe { rustix::thread::unshare_unsafe(flags) }.is_ok())
}

/// Leaves nothing to read but `read`, nothing to write but `write`, and no network unless it is
/// meant to be `online`.
///
/// # Errors
/// The kernel offers it and refuses it all the same.
pub(super) fn restrict(read: &[PathBuf], write: &[PathBuf], online: bool) -> Result<Enforced, String> {
    let status = landlock(read, write, online).map_err(|error| format!("files cannot be restricted: {error}"))?;
    let files = status.ruleset != RulesetStatus::NotEnforced;
    // Restrictions of TCP came later than those of files.
    Ok(Enforced { files, network: status.ruleset == RulesetStatus::FullyEnforced })
}

fn landlock(read: &[PathBuf], write: &[PathBuf], online: bool) -> Result<RestrictionStatus, RulesetError> {
    let fs = ABI::V5;
    let reading = AccessFs::from_read(fs);
    let devices = AccessFs::ReadFile | AccessFs::WriteFile;
    let rules = Ruleset::default().handle_access(AccessFs::from_all(fs))?;
    let rules = if online { rules } else { rules.handle_access(AccessNet::from_all(ABI::V4))? };
    rules
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(read, reading))?
        .add_rules(path_beneath_rules(LIBRARIES, reading))?
        .add_rules(path_beneath_rules(DEVICES, devices))?
        .add_rules(path_beneath_rules(write, AccessFs::from_all(fs) & !AccessFs::Execute))?
        .restrict_self()
}
