//! An HSM behind a server, `p11-kit server`, that is killed and started again while the CA runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod place;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use proto::ca::v1::{
    CertificationRequest, IssueBatchRequest, Issued,
    certificate_authority_service_client::CertificateAuthorityServiceClient as Client, issue_result::Outcome,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tonic::transport::Channel;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};

use place::{Place, request};

/// What hangs longer than this on a busy machine is a failure.
const LONGEST: Duration = Duration::from_secs(60);

/// Debian's p11-kit-modules: a PKCS#11 module that asks the server.
const CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";

/// The server, in a process group of its own: it forks for each connection.
struct Hsm(Child);

impl Hsm {
    fn start(place: &Place, socket: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let _ = std::fs::remove_file(socket);
        let mut command = Command::new("p11-kit");
        command.args(["server", "--foreground", "--sh", "--provider"]).arg(place.token().module());
        command.arg("--name").arg(socket).arg("pkcs11:").envs(place.token().environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let hsm = Self(command.spawn().unwrap());
        let until = Instant::now() + LONGEST;
        while !socket.exists() {
            assert!(Instant::now() < until, "p11-kit server does not listen");
            // Polling: it says nothing when it is ready.
            thread::sleep(Duration::from_millis(5));
        }
        hsm
    }
}

impl Drop for Hsm {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

async fn ask(client: &mut Client<Channel>, request: &CertificationRequest) -> Outcome {
    let batch = IssueBatchRequest { requests: vec![request.clone()] };
    let answer = tokio::time::timeout(LONGEST, client.issue_batch(batch)).await.unwrap().unwrap();
    answer.into_inner().results.remove(0).outcome.unwrap()
}

/// Waits for a health; what comes in between is not looked at.
async fn await_health(channel: &Channel, wanted: ServingStatus) {
    let check = HealthCheckRequest { service: "ca.v1.CertificateAuthorityService".to_owned() };
    let mut changes = HealthClient::new(channel.clone()).watch(check).await.unwrap().into_inner();
    let awaited = async {
        while let Some(change) = changes.message().await.unwrap() {
            if change.status == wanted as i32 {
                return;
            }
        }
        panic!("health ended");
    };
    tokio::time::timeout(LONGEST, awaited).await.unwrap_or_else(|_| panic!("health is not {wanted:?}"));
}

/// Waits until `status` says so: a CRL that was under way may be told before the token is looked at.
fn await_told(place: &Place, words: &str) {
    let until = Instant::now() + LONGEST;
    loop {
        let told = place.call(&["status"], 1);
        assert!(told.contains("NOT SERVING"), "{told}");
        if told.contains("TOKEN") && told.contains(words) {
            return;
        }
        assert!(Instant::now() < until, "{told}");
    }
}

/// While the server is away, also when it goes between two requests, what is asked for is recorded and put off with a time;
/// health and `status` are red and say why. Once it is back the same request has its certificate, and health is green:
/// the same process, without anybody's help, twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_hsm_that_goes_and_comes_back() {
    let place = Place::new();
    let socket: PathBuf = place.path("hsm.socket");
    place.reach_token_by(Path::new(CLIENT), &[("P11_KIT_SERVER_ADDRESS", &format!("unix:path={}", socket.display()))]);
    let mut hsm = Some(Hsm::start(&place, &socket));
    place.run(&["init"], 0);
    let server = place.serve();
    place.write_client(&server, "auditor-1");
    let channel = place.channel(&server, "station-1");
    let mut client = Client::new(channel.clone());
    assert!(matches!(ask(&mut client, &request(1)).await, Outcome::Issued(_)), "{}", place.output());
    for round in [2, 3] {
        drop(hsm.take());
        await_health(&channel, ServingStatus::NotServing).await;
        await_told(&place, "does not answer");
        let wanted = request(round);
        let Outcome::Deferred(later) = ask(&mut client, &wanted).await else { panic!("{}", place.output()) };
        assert!(
            later.retry_after.is_some_and(|after| after.seconds > 0) && later.message.contains("is recorded"),
            "{later:?}"
        );
        hsm = Some(Hsm::start(&place, &socket));
        await_health(&channel, ServingStatus::Serving).await;
        let Outcome::Issued(Issued { certificate, .. }) = ask(&mut client, &wanted).await else {
            panic!("{}", place.output())
        };
        let Outcome::Issued(again) = ask(&mut client, &wanted).await else { panic!("{}", place.output()) };
        assert_eq!(again.certificate, certificate);
        assert!(place.call(&["status"], 0).contains("ca-1"));
    }
    assert_eq!(server.terminate(), Some(0));

    // Whatever module leads to it, it is SoftHSM.
    let text = std::fs::read_to_string(place.configuration()).unwrap();
    std::fs::write(place.configuration(), format!("mode = \"production\"\n{text}")).unwrap();
    place.run(&["init"], 1);
    place.run(&["serve"], 1);
    assert_eq!(place.output().matches("which mode = \"production\" refuses").count(), 2, "{}", place.output());
    drop(hsm);
}
