//! spoke-agent
