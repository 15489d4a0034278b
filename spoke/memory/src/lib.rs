//! spoke-memory
