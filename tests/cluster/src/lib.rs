//! Tests against real API servers.
//!
//! [`conformance`] is one list of cases that the in-memory cluster and a real API server both
//! pass: what the rest of Drover may rely on.

pub mod conformance;
pub mod proxy;
pub mod shell;
pub mod site;
