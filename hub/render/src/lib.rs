//! hub-render
