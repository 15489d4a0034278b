//! Tests of Fleet.
