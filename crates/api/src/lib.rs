//! The HTTP contract: what goes over the wire, and a client.
