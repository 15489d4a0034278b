//! Times: relative in tables, RFC 3339 in documents.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Milliseconds since 1970 by the clock of this machine.
#[must_use]
pub fn now_unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago, in at most two units: `12s`, `3m10s`, `5h`, `12d`.
#[must_use]
pub fn age(unix_millis: u64, now_unix_millis: u64) -> String {
    let secs = now_unix_millis.saturating_sub(unix_millis) / 1000;
    let two = |large: u64, large_unit: char, small: u64, small_unit: char| {
        if small == 0 || large >= 10 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => two(secs / 60, 'm', secs % 60, 's'),
        3600..86_400 => two(secs / 3600, 'h', secs % 3600 / 60, 'm'),
        _ => two(secs / 86_400, 'd', secs % 86_400 / 3600, 'h'),
    }
}

/// How long until then, or how long it is over: `in 55m`, `3h ago`.
#[must_use]
pub fn ahead(unix_millis: u64, now_unix_millis: u64) -> String {
    if unix_millis > now_unix_millis {
        format!("in {}", age(now_unix_millis, unix_millis))
    } else {
        format!("{} ago", age(unix_millis, now_unix_millis))
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(unix_millis: u64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(unix_millis).ok()?).ok()?;
    Some(format!("{time:.3}"))
}

/// Reads a span as Kubernetes writes it: `90s`, `2m`, `1h30m`, `1d`.
///
/// # Errors
/// The text is no such span, or it is zero.
pub fn parse_span(text: &str) -> Result<Duration> {
    let mut secs = 0_u64;
    let mut digits = String::new();
    for letter in text.chars() {
        let unit_secs = match letter {
            '0'..='9' => {
                digits.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => bail!("{text:?} is no span of time; write it as 90s, 2m, 1h30m or 1d"),
        };
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_secs));
        let Some(sum) = number.and_then(|number| secs.checked_add(number)) else {
            bail!("{text:?} is no span of time; write it as 90s, 2m, 1h30m or 1d");
        };
        secs = sum;
        digits.clear();
    }
    if secs == 0 || !digits.is_empty() {
        bail!("{text:?} is no span of time; write it as 90s, 2m, 1h30m or 1d");
    }
    Ok(Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        let ages: Vec<String> =
            [0, 59, 60, 61, 700, 3660, 40_000, 90_000, 2_000_000].map(|secs| age(0, secs * 1000)).to_vec();
        assert_eq!(ages, ["0s", "59s", "1m", "1m1s", "11m", "1h1m", "11h", "1d1h", "23d"]);
        assert_eq!(age(5000, 0), "0s");
        assert_eq!((ahead(90_000, 0), ahead(0, 90_000)), ("in 1m30s".into(), "1m30s ago".into()));
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(rfc3339(1_700_000_000_123).as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(rfc3339(u64::MAX), None);
    }

    #[test]
    fn spans_are_read_as_they_are_written() {
        let secs = |text| parse_span(text).ok().map(|span| span.as_secs());
        assert_eq!(secs("90s"), Some(90));
        assert_eq!(secs("1h30m"), Some(5400));
        assert_eq!(secs("1d"), Some(86_400));
        for wrong in ["", "5", "0s", "m", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(secs(wrong), None, "{wrong}");
        }
    }
}
