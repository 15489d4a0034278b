//! hub-git
