//! A gateway or a server started for a verb, on ports that nobody else has.
