//! Style as a test: what a reviewer should not have to say twice.
//!
//! Each rule is a function from a text to complaints, with a test that it complains; `tests/` holds the whole
//! checkout against it, and lists everything that is wrong at once.

pub mod edges;
pub mod shape;
pub mod tree;
pub mod words;

/// Fails with all complaints, a line each.
///
/// # Errors
/// There is a complaint.
pub fn expect_none(complaints: &[String]) -> anyhow::Result<()> {
    if complaints.is_empty() {
        return Ok(());
    }
    anyhow::bail!("{} complaint(s):\n{}", complaints.len(), complaints.join("\n"))
}
