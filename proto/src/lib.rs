//! The protocol buffers of the station, the CA and their journals, and the Rust generated from them.
//!
//! The `.proto` files beside this crate are the documentation; here is only what prost and tonic make of them.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

pub mod mask;

/// The file descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A message as JSON, by protobuf's own mapping: `name` such as `journal.v1.StationRecord`. Bytes are base64.
///
/// # Errors
/// Bytes that are no such message, in words.
pub fn as_json(name: &str, bytes: &[u8]) -> Result<serde_json::Value, String> {
    let message = DynamicMessage::decode(described(name)?, bytes).map_err(|error| error.to_string())?;
    serde_json::to_value(&message).map_err(|error| error.to_string())
}

fn described(name: &str) -> Result<MessageDescriptor, String> {
    static POOL: LazyLock<Result<DescriptorPool, String>> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).map_err(|error| error.to_string()));
    let pool = POOL.as_ref().map_err(Clone::clone)?;
    pool.get_message_by_name(name).ok_or_else(|| format!("there is no message {name}"))
}

/// What a station asks of the intermediate CA.
pub mod ca {
    /// `ca.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("ca.v1");
    }
}

/// What a device shows of where its key lives.
pub mod evidence {
    /// `evidence.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("evidence.v1");
    }
}

/// What is asked of a station.
pub mod station {
    /// `station.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("station.v1");
    }

    impl std::fmt::Debug for v1::Supervisor {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Supervisor").field("badge", &self.badge).finish_non_exhaustive()
        }
    }
}

/// The journals' records.
pub mod journal {
    /// `journal.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("journal.v1");
    }
}
