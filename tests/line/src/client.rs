//! Who calls the station, and clients for them.

use std::time::Duration;

use proto::station::v1::station_service_client::StationServiceClient;
use service::tls::{self, TlsFiles};
use tonic::transport::Channel;

use crate::LineError;

const CONNECT_MOST: Duration = Duration::from_secs(5);

/// One whom the station's configuration knows.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The CN of its client certificate.
    pub common_name: &'static str,
    /// Its role.
    pub role: &'static str,
}

/// All whom the station's configuration knows: one for each role.
pub const CALLERS: [Caller; 6] = [
    Caller { common_name: "page-1", role: "kiosk" },
    Caller { common_name: "operator-1", role: "operator" },
    Caller { common_name: "supervisor-1", role: "supervisor" },
    Caller { common_name: "mes-1", role: "mes" },
    Caller { common_name: "auditor-1", role: "auditor" },
    Caller { common_name: "administrator-1", role: "administrator" },
];

/// A channel to `port`, which connects when it is used.
pub(crate) fn channel(name: &str, files: &TlsFiles, port: u16) -> Result<Channel, LineError> {
    let endpoint = format!("https://127.0.0.1:{port}");
    tls::channel(&endpoint, files, CONNECT_MOST).map_err(|source| LineError::Client { name: name.into(), source })
}

/// A client of the station on `port`.
pub(crate) fn station(name: &str, files: &TlsFiles, port: u16) -> Result<StationServiceClient<Channel>, LineError> {
    channel(name, files, port).map(StationServiceClient::new)
}
