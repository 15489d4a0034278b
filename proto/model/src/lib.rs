//! proto-model
