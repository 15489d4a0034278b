//! What a plain scalar means: the rules of go-yaml 2, which kubectl reads with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use granit_parser::Tag;
use serde_json::Number;

use super::{Data, Error};

/// What `!!` stands for.
pub(super) const TYPES: &str = "tag:yaml.org,2002:";

pub(super) fn read(text: &str, plain: bool, tag: Option<&Tag>, line: u32) -> Result<Data, Error> {
    let Some(tag) = tag else {
        return if plain { resolve(text, line) } else { Ok(Data::Text(text.into())) };
    };
    // `!` alone says: not to be resolved.
    if tag.original() == "!" {
        return Ok(Data::Text(text.into()));
    }
    if tag.suffix_in_namespace(TYPES).as_deref() == Some("binary") {
        return binary(text, line);
    }
    let found = match tag.core_suffix() {
        Some("str") => return Ok(Data::Text(text.into())),
        Some(wanted) => (wanted, resolve(text, line)?),
        None => {
            return Err(Error::new(line, format!("tag {} is not supported", tag.original())));
        }
    };
    match found {
        ("null", data @ Data::Null) | ("bool", data @ Data::Bool(..)) => Ok(data),
        ("float", data @ Data::Number(..)) => Ok(data),
        ("int", Data::Number(number, text)) if !number.is_f64() => Ok(Data::Number(number, text)),
        (wanted, _) => Err(Error::new(line, format!("cannot read {text:?} as !!{wanted}"))),
    }
}

/// What other tools write for bytes; kubectl takes it for the text that they are.
fn binary(text: &str, line: u32) -> Result<Data, Error> {
    let packed: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let bytes =
        BASE64.decode(packed).map_err(|_| Error::new(line, "cannot read a !!binary value that is no base64"))?;
    let no_text = "a !!binary value is no text; leave out the tag, and write it into data of a Secret or binaryData";
    String::from_utf8(bytes).map(Data::Text).map_err(|_| Error::new(line, no_text))
}

fn resolve(text: &str, line: u32) -> Result<Data, Error> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Data::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Data::Bool(true, text.into()));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Data::Bool(false, text.into()));
        }
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(Error::new(line, format!("{text} has no form in JSON; quote it")));
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        // What looks like a date is no number, and go-yaml leaves it the text that it is.
        Some(b'0'..=b'9' | b'+' | b'-') => number(text),
        _ => None,
    };
    Ok(number.map_or_else(|| Data::Text(text.into()), |number| Data::Number(number, text.into())))
}

/// Like go-yaml: underscores go first, then Go's `ParseInt` with base 0, which would take the
/// underscores too, then floats, then binary numbers.
fn number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    integer(digits, negative).or_else(|| float(&plain))
}

fn integer(digits: &str, negative: bool) -> Option<Number> {
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if !negative {
        return Some(Number::from(value));
    }
    0i64.checked_sub_unsigned(value).map(Number::from)
}

/// A fraction; one without a fractional part becomes an integer, as Go writes it to JSON.
fn float(text: &str) -> Option<Number> {
    if !looks_like_float(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    from_f64(value)
}

/// The JSON number of a float: integers without a point where Go writes none.
pub(super) fn from_f64(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "within 2^53, without a fraction")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn looks_like_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good_exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && good_exponent
}
