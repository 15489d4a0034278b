//! What the standard library does not offer of Linux: the whole `unsafe` code of this crate, each call a few lines.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A signal that this process was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The number, as in `libc::SIGINT`.
    pub number: i32,
    /// The kernel sent it (Ctrl-C on the terminal), so that the whole foreground group has it already.
    pub from_kernel: bool,
}

/// Makes the kernel kill the command when the *thread* that starts it ends, and gives it an empty signal mask.
///
/// Only [`crate::process::spawn`] should use it: its thread lives as long as the process does.
#[allow(unsafe_code, reason = "pre_exec is the only way to set the parent-death signal of a child")]
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = libc::pid_t::try_from(std::process::id()).unwrap_or(-1);
    let setup = move || {
        // SAFETY: plain system calls on values of this frame; all of them are async-signal-safe.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above: then nobody would send the signal any more.
            if libc::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure neither allocates nor takes locks between fork and exec.
    unsafe { command.pre_exec(setup) };
}

/// Sends a signal to one process.
///
/// # Errors
/// Those of kill(2): `ESRCH` if the process is gone.
#[allow(unsafe_code, reason = "the standard library can only send SIGKILL")]
pub fn send_signal(pid: u32, number: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two integers.
    if unsafe { libc::kill(pid, number) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Holds back the given signals in this thread and in all threads it starts from now on, for [`wait_signal`] to take.
///
/// # Errors
/// Those of pthread_sigmask(3).
#[allow(unsafe_code, reason = "the standard library knows no signals")]
pub fn block_signals(numbers: &[i32]) -> io::Result<()> {
    let set = signal_set(numbers);
    // SAFETY: the set is initialised and outlives the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Waits for one of the given signals, which [`block_signals`] holds back.
///
/// # Errors
/// Those of sigwaitinfo(2).
#[allow(unsafe_code, reason = "the standard library knows no signals")]
pub fn wait_signal(numbers: &[i32]) -> io::Result<Signal> {
    let set = signal_set(numbers);
    loop {
        // SAFETY: siginfo_t is plain data, for which zeroes are a value; both pointers outlive the call.
        let (number, code) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::sigwaitinfo(&raw const set, &raw mut info), info.si_code)
        };
        if number > 0 {
            return Ok(Signal { number, from_kernel: code == libc::SI_KERNEL });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[allow(unsafe_code, reason = "a sigset_t is filled by calls only")]
fn signal_set(numbers: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it before any use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for number in numbers {
            libc::sigaddset(&raw mut set, *number);
        }
        set
    }
}

/// Makes this process the parent of what its children leave behind, so that it can find and end them.
///
/// # Errors
/// Those of prctl(2).
#[allow(unsafe_code, reason = "the standard library does not offer prctl")]
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: prctl takes integers here.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the exit status of a child that no `std::process::Child` stands for; `false` while it runs.
///
/// # Errors
/// Those of waitpid(2).
#[allow(unsafe_code, reason = "adopted children have no handle in the standard library")]
pub fn reap(pid: u32) -> io::Result<bool> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: a null status pointer is allowed.
    match unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) } {
        -1 => Err(io::Error::last_os_error()),
        taken => Ok(taken == pid),
    }
}

/// How many file descriptors a process may open: the limit in force, and what it may raise itself to.
///
/// # Errors
/// Those of getrlimit(2).
#[allow(unsafe_code, reason = "the standard library does not offer getrlimit")]
pub fn descriptor_limits() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value of this frame.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        Ok((limit.rlim_cur, limit.rlim_max))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Free bytes, for this user, on the file system of an existing path.
///
/// # Errors
/// Those of statvfs(3).
#[allow(unsafe_code, reason = "the standard library does not offer statvfs")]
#[allow(clippy::unnecessary_cast, reason = "the fields are narrower on 32-bit systems")]
pub fn free_disk_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in NUL, and the answer is plain data of this frame, read only after success.
    unsafe {
        let mut answer: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &raw mut answer) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((answer.f_bavail as u64).saturating_mul(answer.f_frsize as u64))
    }
}

/// The processes whose parent is `pid`.
///
/// # Errors
/// If `/proc` cannot be listed.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ended since the listing is no child any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else {
            continue;
        };
        // The name, in parentheses, may hold anything; state and parent follow the last of them.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(pid.to_string().as_str()) {
            found.push(child);
        }
    }
    Ok(found)
}

/// Whether this very process listens on a port of 127.0.0.1.
///
/// A connection alone would not tell: another program may have taken the port first.
///
/// # Errors
/// If `/proc` cannot be read; a process that is gone does not listen.
pub fn listens(pid: u32, port: u16) -> io::Result<bool> {
    const LISTEN: &str = "0A";
    let local = format!("0100007F:{port:04X}");
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let wanted: Vec<String> = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&LISTEN))
        .filter_map(|fields| fields.get(9).map(|inode| format!("socket:[{inode}]")))
        .collect();
    if wanted.is_empty() {
        return Ok(false);
    }
    let open = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        open => open?,
    };
    // A descriptor that was closed since the listing is skipped.
    Ok(open
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| wanted.iter().any(|socket| target.as_os_str() == socket.as_str())))
}
