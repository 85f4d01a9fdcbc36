//! Tests of catalogues and views.
