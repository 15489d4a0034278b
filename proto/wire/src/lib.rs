//! proto-wire
