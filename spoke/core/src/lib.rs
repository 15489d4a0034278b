//! spoke-core
