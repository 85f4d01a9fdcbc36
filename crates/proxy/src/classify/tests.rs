//! Tests of classification.
