//! From bytes to text, as kubectl comes by it: byte order marks, UTF-16 and the lines between
//! documents.

use std::borrow::Cow;

use super::Error;

const MARK: char = '\u{feff}';

/// The text of a file.
pub(super) fn of(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    let text: Cow<'_, str> = match bytes {
        // What Windows shells write when their output is sent to a file.
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?.into(),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?.into(),
        _ => utf8(bytes)?.into(),
    };
    let odd = text.contains(MARK) || text.contains("---#") || text.contains("\r\r\n");
    Ok(if odd { lines(&text).into() } else { text })
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::new(u32::try_from(line).unwrap_or(u32::MAX), "is not UTF-8 text")
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Error> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let (mut text, mut line) = (String::with_capacity(bytes.len() / 2), 1);
    let bad = |line| Error::new(line, "begins like UTF-16 and is not UTF-16 text; save it as UTF-8");
    for one in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let one = one.map_err(|_| bad(line))?;
        line += u32::from(one == '\n');
        text.push(one);
    }
    if rest.is_empty() { Ok(text) } else { Err(bad(line)) }
}

/// What kubectl does line by line before it reads YAML: files that were put together from several
/// have a mark at the beginning of each, `---#` ends a document although YAML wants a space there,
/// and of two carriage returns before a line feed one goes. The number of lines stays.
fn lines(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len() + 16);
    let mut begins = true;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start_matches(MARK);
        let ends = bare.strip_prefix("---").filter(|rest| rest.trim_start().is_empty() || rest.starts_with([' ', '#']));
        let line = if begins || ends.is_some() { bare } else { line };
        begins = ends.is_some() || begins && (line.trim().is_empty() || line.starts_with('#'));
        let line = match line.strip_prefix("---#") {
            Some(rest) => {
                tidy.push_str("--- #");
                rest
            }
            None => line,
        };
        match line.strip_suffix("\r\n") {
            Some(line) => {
                tidy.push_str(line);
                tidy.push('\n');
            }
            None => tidy.push_str(line),
        }
    }
    tidy
}
