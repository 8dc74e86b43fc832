//! Identifiers as types of their own, so that no two kinds can be mixed up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an existing UUID.
            #[must_use]
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// Makes a version 4 UUID of 16 random bytes.
            #[must_use]
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// Returns the UUID.
            #[must_use]
            pub const fn uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// Names a stored job.
    JobId
}
uuid_id! {
    /// Names one run of a job.
    ExId
}
uuid_id! {
    /// Names a slice, for ever: the same slice of the same execution has the same id on every run.
    SliceId
}

impl SliceId {
    /// Derives the id of the slice that slicer `slicer_id` of execution `ex_id` makes as its `order`-th.
    ///
    /// A UUID version 5 (RFC 9562) in the namespace `ex_id` over both numbers, big-endian.
    #[must_use]
    pub fn derive(ex_id: ExId, slicer_id: u32, order: u64) -> Self {
        let mut name = [0; 12];
        name[..4].copy_from_slice(&slicer_id.to_be_bytes());
        name[4..].copy_from_slice(&order.to_be_bytes());
        Self(Uuid::new_v5(ex_id.uuid(), &name))
    }
}

macro_rules! counter_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter_id! {
    /// Counts the controller objects of an execution; raised by the master before it makes a new one.
    Generation
}
counter_id! {
    /// Counts the controller processes within a generation; raised by each one as it starts.
    Epoch
}
counter_id! {
    /// Counts the leaders of a cluster.
    Term
}

/// Names a worker within an execution, such as `worker-3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// Wraps a worker's name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ex(byte: u8) -> ExId {
        ExId::from_random([byte; 16])
    }

    #[test]
    fn derives_the_same_slice_id_each_time() {
        assert_eq!(SliceId::derive(ex(1), 0, 7), SliceId::derive(ex(1), 0, 7));
    }

    #[test]
    fn tells_slices_apart_by_execution_slicer_and_order() {
        let ids = [
            SliceId::derive(ex(1), 0, 7),
            SliceId::derive(ex(2), 0, 7),
            SliceId::derive(ex(1), 1, 7),
            SliceId::derive(ex(1), 0, 8),
        ];
        for (i, a) in ids.iter().enumerate() {
            assert!(ids[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn keeps_slice_ids_stable_across_versions() {
        let id = SliceId::derive(ExId::new(Uuid::nil()), 3, 42);
        assert_eq!(id.uuid().get_version_num(), 5);
        assert_eq!(id.to_string(), SliceId::derive(ExId::new(Uuid::nil()), 3, 42).to_string());
    }
}
