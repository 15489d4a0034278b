//! Room for charts: where those that are kept take too much, the ones that nobody asked for longest go.
//! What a bundle still needs is fetched again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Age at which a file that is no chart is what a process left that was ended while it wrote.
const LEFT_AGE_MIN: Duration = Duration::from_secs(3_600);

/// A chart was asked for.
pub(super) fn used(chart: &Path) {
    // Where it cannot be marked, it goes sooner.
    let _ = File::open(chart).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Makes room beside a chart that was just kept. What cannot be removed costs room and no more.
pub(super) fn make(newest: &Path, bytes_max: u64) {
    let Some(entries) = newest.parent().and_then(|folder| fs::read_dir(folder).ok()) else { return };
    let (mut charts, mut total): (Vec<(SystemTime, u64, PathBuf)>, u64) = (Vec::new(), 0);
    for entry in entries.flatten() {
        let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
        let Ok(time) = found.modified() else { continue };
        if path.extension().is_some_and(|end| end == "tgz") {
            total = total.saturating_add(found.len());
            charts.push((time, found.len(), path));
        } else if found.is_file() && time.elapsed().is_ok_and(|age| age > LEFT_AGE_MIN) {
            let _ = fs::remove_file(&path);
        }
    }
    charts.sort();
    for (_, bytes, path) in charts.iter().filter(|(_, _, path)| path != newest) {
        if total <= bytes_max {
            return;
        }
        if fs::remove_file(path).is_ok() {
            total = total.saturating_sub(*bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_longest_goes() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, age: u64| {
            let path = place.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let (a, b, c) = (write("a.tgz", 9_000), write("b.tgz", 8_000), write("c.tgz", 7_000));
        let (left, writing) = (write(".tmp1", 9_000), write(".tmp2", 1));
        used(&a);
        make(&c, 200);
        assert!(a.exists() && !b.exists() && c.exists(), "the one that was asked for stays");
        assert!(!left.exists() && writing.exists());
        make(&c, 0);
        assert!(!a.exists() && c.exists(), "what was just kept is needed now");
    }
}
