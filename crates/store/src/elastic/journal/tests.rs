//! The journal as it grows and is made shorter.
