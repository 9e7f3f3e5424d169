//! The line as a whole: its start, its parts, its end.

use std::{
    env, fs, io,
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use proto::station::v1::station_service_client::StationServiceClient;
use service::tls::TlsFiles;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    ControlPlane, Hardware, LineError, Options, Process, client,
    configuration::{self, Ports},
    ports,
};

/// Long for a start, for machines that do much else.
const READY_MOST: Duration = Duration::from_secs(60);
/// Between two attempts to reach a process that starts.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// One attempt.
const ATTEMPT_MOST: Duration = Duration::from_secs(5);
/// How many ports a process is offered when others take them in between.
const PORTS_MOST: usize = 10;

/// A running line. Stopped on drop.
#[derive(Debug)]
pub struct Line {
    // In the order in which they are stopped and dropped.
    page: Option<Process>,
    station: Process,
    ca: Process,
    hardware: Hardware,
    plane: ControlPlane,
    ports: Ports,
    options: Options,
    directory: PathBuf,
    _temporary: Option<TempDir>,
}

/// The processes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Ca,
    Station,
    Page,
}

impl Line {
    /// Starts a line and waits until all of it is ready.
    pub async fn start(options: Options) -> Result<Self, LineError> {
        let mut line = Self::prepare(options)?;
        line.ca.run_once(&["init", "--config", &line.path_of("ca.toml")])?;
        if line.options.ca {
            line.start_ca().await?;
        }
        line.start_station().await?;
        line.start_page().await?;
        Ok(line)
    }

    /// Makes hardware, certificates and configuration, and starts nothing but the hardware.
    fn prepare(options: Options) -> Result<Self, LineError> {
        let temporary = match options.directory {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(LineError::file("make a directory in", env::temp_dir()))?),
        };
        let directory =
            options.directory.as_deref().or(temporary.as_ref().map(TempDir::path)).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(LineError::file("make", directory))?;
        let directory = directory.canonicalize().map_err(LineError::file("find", directory))?;
        let logs = directory.join("logs");
        fs::create_dir_all(&logs).map_err(LineError::file("make", &logs))?;

        let binaries = match &options.binaries {
            Some(binaries) => binaries.clone(),
            None => own_directory()?,
        };
        let process = |name, command: &[&str], file: &str| {
            let file = directory.join(file).to_string_lossy().into_owned();
            let arguments = [command, &["--config", &file]].concat();
            Process::new(name, &binaries, &arguments, &logs)
        };
        let page = options.page.then(|| process("station-ui", &[], "ui.toml")).transpose()?;
        let station = process("station-agent", &["serve"], "station.toml")?;
        let ca = process("intermediate-ca", &["serve"], "ca.toml")?;

        let hardware = Hardware::start(&options, directory.join("secrets"))?;
        let link = directory.join("hardware");
        symlink(hardware.directory(), &link).map_err(LineError::file("make the link", &link))?;
        let plane = ControlPlane::create(directory.join("control-plane"))?;
        configuration::certificates(&plane)?;
        let ports = Ports { ca: ports::free()?, station: ports::free()?, page: page_port(&options)? };
        let line = Self { page, station, ca, hardware, plane, ports, options, directory, _temporary: temporary };
        line.write_configuration()?;
        Ok(line)
    }

    /// Starts the CA, unless it runs, and waits until it is ready.
    pub async fn start_ca(&mut self) -> Result<(), LineError> {
        self.bring_up(Part::Ca).await
    }

    /// Starts the station, unless it runs, and waits until it is ready.
    pub async fn start_station(&mut self) -> Result<(), LineError> {
        self.bring_up(Part::Station).await
    }

    /// Starts the page, unless it runs or the line has none, and waits until it is ready.
    pub async fn start_page(&mut self) -> Result<(), LineError> {
        self.bring_up(Part::Page).await
    }

    /// Stops the CA in order; [`start_ca`](Self::start_ca) starts it again on the same port.
    pub fn stop_ca(&mut self) -> Result<(), LineError> {
        self.ca.stop()
    }

    /// Stops the station in order.
    pub fn stop_station(&mut self) -> Result<(), LineError> {
        self.station.stop()
    }

    /// Kills the CA where it stands.
    pub fn kill_ca(&mut self) -> Result<(), LineError> {
        self.ca.kill()
    }

    /// Kills the station where it stands, and it alone: its workers must notice by themselves.
    pub fn kill_station(&mut self) -> Result<(), LineError> {
        self.station.kill()
    }

    /// Kills the page where it stands.
    pub fn kill_page(&mut self) -> Result<(), LineError> {
        self.page.as_mut().map_or(Ok(()), Process::kill)
    }

    /// An error when a process has ended that nobody stopped.
    pub fn check(&mut self) -> Result<(), LineError> {
        self.page.as_mut().map_or(Ok(()), Process::check)?;
        self.station.check()?;
        self.ca.check()
    }

    /// Stops page, station and CA, in this order, and then the devices. The first error is told; all are stopped.
    pub fn stop(&mut self) -> Result<(), LineError> {
        let page = self.page.as_mut().map_or(Ok(()), Process::stop);
        let station = self.station.stop();
        let ca = self.ca.stop();
        self.hardware.stop();
        page.and(station).and(ca)
    }

    /// A client of the station with the certificate of `common_name`, one of [`CALLERS`](crate::CALLERS).
    pub fn client(&self, common_name: &str) -> Result<StationServiceClient<Channel>, LineError> {
        client::station(common_name, &self.plane.files(common_name), self.ports.station)
    }

    /// A client of the station with any other certificate.
    pub fn client_with(&self, files: &TlsFiles) -> Result<StationServiceClient<Channel>, LineError> {
        client::station("of a certificate of the test's own", files, self.ports.station)
    }

    /// A client of the station as the MES.
    pub fn mes(&self) -> Result<StationServiceClient<Channel>, LineError> {
        self.client("mes-1")
    }

    /// A channel to the station with the certificate of the MES.
    pub fn station_channel(&self) -> Result<Channel, LineError> {
        client::channel("mes-1", &self.plane.files("mes-1"), self.ports.station)
    }

    /// A channel to the CA with the certificate of the station.
    pub fn authority(&self) -> Result<Channel, LineError> {
        self.authority_as("station-1")
    }

    /// A channel to the CA with the certificate of `common_name`.
    pub fn authority_as(&self, common_name: &str) -> Result<Channel, LineError> {
        client::channel(common_name, &self.plane.files(common_name), self.ports.ca)
    }

    /// Where everything but the hardware is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The devices and the CA's token.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// The devices, to take their power.
    pub fn hardware_mut(&mut self) -> &mut Hardware {
        &mut self.hardware
    }

    /// Who issues the mTLS certificates.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The page's address for a browser; `None` when the line has no page.
    pub fn page_url(&self) -> Option<String> {
        self.page.as_ref().map(|_| format!("http://127.0.0.1:{}", self.ports.page))
    }

    /// The station's address, `https://127.0.0.1:port`.
    pub fn station_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.station)
    }

    /// The station's process.
    pub fn station(&mut self) -> &mut Process {
        &mut self.station
    }

    /// The CA's process.
    pub fn ca(&mut self) -> &mut Process {
        &mut self.ca
    }

    /// Starts a part and waits for it; when somebody took its port in between, on another port.
    async fn bring_up(&mut self, part: Part) -> Result<(), LineError> {
        let mut offered = 1;
        loop {
            match self.process(part) {
                Some(process) => process.spawn()?,
                None => return Ok(()),
            }
            match self.await_ready(part).await {
                Err(LineError::Ended { .. }) if offered < PORTS_MOST && !ports::is_free(self.port(part)) => {
                    offered += 1;
                    match part {
                        Part::Ca => self.ports.ca = ports::free()?,
                        Part::Station => self.ports.station = ports::free()?,
                        Part::Page => self.ports.page = page_port(&self.options)?,
                    }
                    self.write_configuration()?;
                }
                ready => return ready,
            }
        }
    }

    async fn await_ready(&mut self, part: Part) -> Result<(), LineError> {
        let deadline = Instant::now() + READY_MOST;
        loop {
            let attempt = timeout(ATTEMPT_MOST, self.reach(part)).await.unwrap_or_else(|_| Err("no answer".into()));
            // Checked after the attempt: an answer from whoever took our port is no answer.
            let Some(process) = self.process(part) else { return Ok(()) };
            process.check()?;
            match attempt {
                Ok(()) => return Ok(()),
                Err(last) if Instant::now() > deadline => return Err(process.late(READY_MOST, last)),
                Err(_) => sleep(READY_PAUSE).await,
            }
        }
    }

    /// One attempt to reach a part; what was in the way, in words.
    async fn reach(&self, part: Part) -> Result<(), String> {
        let channel = match part {
            Part::Ca => self.authority(),
            Part::Station => client::channel("mes-1", &self.plane.files("mes-1"), self.ports.station),
            Part::Page => return reach_page(self.ports.page).await.map_err(|error| error.to_string()),
        };
        let channel = channel.map_err(|error| service::in_full(&error))?;
        let answer = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .map_err(|error| service::in_full(&error))?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("its health is {}", other.as_str_name())),
        }
    }

    fn process(&mut self, part: Part) -> Option<&mut Process> {
        match part {
            Part::Ca => Some(&mut self.ca),
            Part::Station => Some(&mut self.station),
            Part::Page => self.page.as_mut(),
        }
    }

    fn port(&self, part: Part) -> u16 {
        match part {
            Part::Ca => self.ports.ca,
            Part::Station => self.ports.station,
            Part::Page => self.ports.page,
        }
    }

    fn path_of(&self, file: &str) -> String {
        self.directory.join(file).to_string_lossy().into_owned()
    }

    fn write_configuration(&self) -> Result<(), LineError> {
        configuration::write(&self.directory, &self.options, &self.hardware, &self.plane, self.ports)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// A plain HTTP/1.1 answer without an error is the page's sign of life.
async fn reach_page(port: u16) -> io::Result<()> {
    let mut page = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    page.write_all(request.as_bytes()).await?;
    let mut status = [0; "HTTP/1.1 200".len()];
    page.read_exact(&mut status).await?;
    match &status {
        [b'H', b'T', b'T', b'P', .., b'2' | b'3', _, _] => Ok(()),
        other => Err(io::Error::other(format!("it answered {}", String::from_utf8_lossy(other)))),
    }
}

fn page_port(options: &Options) -> Result<u16, LineError> {
    options.page_port.map_or_else(ports::free, ports::free_from)
}

/// The directory of the running binary, or the one above for a test, which cargo puts into `deps`.
fn own_directory() -> Result<PathBuf, LineError> {
    let own = env::current_exe().map_err(LineError::file("find", "the running binary"))?;
    let directory = own.parent().unwrap_or(Path::new("."));
    match directory.ends_with("deps") {
        true => Ok(directory.parent().unwrap_or(directory).to_owned()),
        false => Ok(directory.to_owned()),
    }
}
