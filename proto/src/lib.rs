//! The protocol buffers of the station, the CA and their journals, and the Rust generated from them.
//!
//! The `.proto` files beside this crate are the documentation; here is only what prost and tonic make of them.

/// The file descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

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
}

/// The journals' records.
pub mod journal {
    /// `journal.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("journal.v1");
    }
}
