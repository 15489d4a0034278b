//! The secrets that webhooks are signed with: read for each webhook, so that one that is exchanged
//! counts at once.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proto_model::limits;
use zeroize::Zeroizing;

/// The secrets in a file, one a line. None where the file is not there: the source has no webhook.
///
/// # Errors
/// It cannot be read, is open to everybody, or holds too much.
pub(super) fn read(path: &Path) -> io::Result<Vec<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if file.metadata()?.permissions().mode() & 0o007 != 0 {
        return Err(io::Error::other("everyone on this machine may read it: run `chmod o-rwx` on it"));
    }
    // Room for all of it, so that no copy is left behind where it grows.
    let mut text = Zeroizing::new(String::with_capacity(limits::HOOK_SECRET_BYTES_MAX as usize + 1));
    file.take(limits::HOOK_SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limits::HOOK_SECRET_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {} bytes", limits::HOOK_SECRET_BYTES_MAX)));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.take(limits::HOOK_SECRETS_MAX).map(|line| Zeroizing::new(line.to_owned())).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[test]
    fn secrets_are_lines_of_a_file_that_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("webhook");
        assert!(read(&path).unwrap().is_empty(), "no file, no webhook");
        write(&path, "new one\n\n old \n").unwrap();
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let found: Vec<String> = read(&path).unwrap().iter().map(|one| one.to_string()).collect();
        assert_eq!(found, ["new one", "old"]);
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod"));
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write(&path, "x".repeat(5000)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger"));
    }
}
