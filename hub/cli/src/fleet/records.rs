//! Tables of join tokens and of what operators did.

use crate::output::record::{Audit, Token};
use crate::output::table::{Cell, Look, Table};
use crate::output::time;

/// The join tokens.
#[must_use]
pub fn tokens_table(tokens: &[Token], look: Look) -> Table {
    let mut table = Table::new(&["TOKEN", "NAMES", "LABELS", "USED", "LEFT", "EXPIRES"]);
    for token in tokens {
        let labels: Vec<String> = token.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.push(vec![
            Cell::from(&token.id),
            Cell::from(token.names.join(",")),
            Cell::or_dash(Some(&labels.join(","))),
            Cell::from(token.used.to_string()),
            Cell::from(token.uses_left.to_string()),
            Cell::from(time::ahead(token.expires_unix_millis, look.now_unix_millis)),
        ]);
    }
    table
}

/// What operators did, oldest first.
#[must_use]
pub fn audit_table(audit: &[Audit], look: Look) -> Table {
    let mut table = Table::new(&["AGE", "WHO", "WHAT", "WHY"]);
    for line in audit {
        table.push(vec![
            Cell::from(time::age(line.unix_millis, look.now_unix_millis)),
            Cell::from(&line.who),
            Cell::from(&line.what),
            Cell::from(line.why.as_deref().unwrap_or_default()),
        ]);
    }
    table
}
