//! A real mosquitto with the CA's CRL as its `crlfile`: who is revoked is out, who is not is in, and by an expired list
//! nobody is.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{revoking::serial_of, *};
use crate::{Revocation, RevocationReason, Target};

/// What hangs longer is killed.
const LONGEST: Duration = Duration::from_secs(60);

struct Broker {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Broker {
    /// Another process may take the free port first: then another one is tried.
    fn start(world: &World) -> Self {
        (0..10).find_map(|_| Self::try_start(world)).expect("no free port for the broker")
    }

    fn try_start(world: &World) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| world.path().join(name);
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\ncrlfile {}\n\
             require_certificate true\nuse_identity_as_username true\nlog_dest stderr\n",
            path("bundle.pem").display(),
            path("localhost.pem").display(),
            path("localhost.key").display(),
            path("crl/device-identity.crl.pem").display(),
        );
        fs::write(path("mosquitto.conf"), text).unwrap();
        let log = path("mosquitto.log");
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(path("mosquitto.conf")).stdin(Stdio::null());
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut broker = Self { child, port, log };
        let until = Instant::now() + LONGEST;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if broker.child.try_wait().unwrap().is_some() {
                assert!(broker.log().contains("Address already in use"), "{}", broker.log());
                return None;
            }
            assert!(Instant::now() < until, "the broker does not listen: {}", broker.log());
            std::thread::yield_now();
        }
        Some(broker)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether this client may publish.
    fn accepts(&self, world: &World, name: &str) -> bool {
        let path = |name: String| world.path().join(name);
        let mut client = Command::new("mosquitto_pub");
        client.args(["-h", "localhost", "-p", &self.port.to_string(), "-q", "1", "-t", "line", "-m", name]);
        client.arg("--cafile").arg(path("bundle.pem".to_owned()));
        client.arg("--cert").arg(path(format!("{name}.pem"))).arg("--key").arg(path(format!("{name}.key")));
        client.stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        let until = Instant::now() + LONGEST;
        while Instant::now() < until {
            if let Some(status) = client.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        client.kill().unwrap();
        client.wait().unwrap();
        panic!("mosquitto_pub as {name} does not end: {}", self.log());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CA's clock stood a day behind when the first list was made, so it is expired today: nobody gets in. With today's
/// list both get in; after the revocation of one, the other alone.
#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_enforces_the_list() {
    let world = World::blank().with_crls([1, 24, 12]);
    let today = service::clock::Clock::system().unjudged();
    world.time.store(today - 25 * 3_600_000, Ordering::SeqCst);
    init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
    let authority = world.open();
    let mut serials = Vec::new();
    for (number, name, profile) in
        [(1, "localhost", "server"), (2, "lost", "device-identity"), (3, "kept", "device-identity")]
    {
        let key = key();
        let wanted = Submission {
            profile: profile.to_owned(),
            certification_request: request(&params(name), &key),
            ..submission(number)
        };
        let outcome = issue_one(&authority, &wanted).await;
        let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", issued(&outcome).certificate.as_slice()));
        fs::write(world.path().join(format!("{name}.pem")), certificate).unwrap();
        fs::write(world.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        serials.push(serial_of(&outcome));
    }
    let file = |name: &str| fs::read_to_string(world.path().join("pki").join(name)).unwrap();
    fs::write(world.path().join("bundle.pem"), file("root.pem") + &file("device-identity.pem")).unwrap();
    assert_eq!(authority.renew_crls().await, 0);
    let broker = Broker::start(&world);
    assert!(!broker.accepts(&world, "kept"), "by an expired list nobody gets in: {}", broker.log());
    drop(broker);

    world.time.store(today, Ordering::SeqCst);
    assert_eq!(authority.renew_crls().await, 0);
    let broker = Broker::start(&world);
    for name in ["lost", "kept"] {
        assert!(broker.accepts(&world, name), "{name}: {}", broker.log());
    }
    drop(broker);

    let revocation =
        Revocation { target: Target::Certificate(serials.remove(1)), reason: RevocationReason::KeyCompromise };
    authority.revoke("supervisor-1", revocation).await.unwrap().unwrap();
    assert_eq!(authority.renew_crls().await, 0);
    let broker = Broker::start(&world);
    assert!(!broker.accepts(&world, "lost"), "{}", broker.log());
    assert!(broker.accepts(&world, "kept"), "{}", broker.log());
    drop(broker);
    authority.close().await.unwrap();
}
