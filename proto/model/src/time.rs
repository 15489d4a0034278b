//! Times and spans for people.

/// A time in UTC, to the second: `2026-05-01T02:13:00Z`.
#[must_use]
pub fn utc(unix_millis: u64) -> String {
    let secs = unix_millis / 1_000;
    let (year, month, day) = date(secs / 86_400);
    let second = secs % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// A span in at most two units: `3d 4h`, `12m`, `5s`.
#[must_use]
pub fn span(secs: u64) -> String {
    let units = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "m"), (secs % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = units.iter().enumerate().filter(|(at, (count, _))| *at == first || (*at == first + 1 && *count > 0));
    shown.map(|(_, (count, unit))| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Reads a span as people write it: `90s`, `30m`, `2h`, `7d`, `1h30m`; in seconds.
///
/// # Errors
/// It is something else.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span of time; write it as 30m, 2h, 1h30m or 7d");
    let (mut total, mut digits) = (0_u64, String::new());
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' => {
                digits.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|secs| total.checked_add(secs)).ok_or_else(wrong)?;
    }
    if !digits.is_empty() || total == 0 { Err(wrong()) } else { Ok(total) }
}

/// Year, month and day, from days since 1970. Years begin in March here, so that the day that some
/// years have more comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let in_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, in_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(secs * 1_000), text);
        }
    }

    #[test]
    fn spans_are_short() {
        for (secs, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_661, "1h 1m"), (86_400 + 59, "1d"), (90_061, "1d 1h")]
        {
            assert_eq!(span(secs), text);
        }
    }

    #[test]
    fn spans_are_read_as_written() {
        for (text, secs) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1h30m", 5_400), ("7d", 604_800)] {
            assert_eq!(parse_span(text), Ok(secs));
        }
        for text in ["", "2", "h", "2x", "-1h", "0s", "1h30", "99999999999999999999d", "999999999999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
