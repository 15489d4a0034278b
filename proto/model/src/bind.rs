//! Binding variables into objects.
