//! A server that runs out of file descriptors, in a process of its own.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::authority::{Authority, End, PATIENCE, Server, call, client, server};
use crate::tls::{TlsFiles, channel};

/// Where the process that this test binary plays finds its TLS files.
const DIRECTORY: &str = "STATION_TEST_EXHAUSTION_DIRECTORY";

fn files(directory: &Path) -> TlsFiles {
    let at = |name: &str| directory.join(name);
    TlsFiles { certificate: at("certificate.pem"), key: at("key.pem").into(), trust: at("trust.pem") }
}

/// Not a test of its own: the server. It takes every descriptor, lets go of them at the first line of its input, and ends
/// with its input.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn part() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let serving = Server::start(&files(&directory)).await;
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..getrlimit(Resource::Nofile) }).unwrap();
    let taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    println!("\n{}", serving.address);
    let mut input = std::io::stdin();
    input.read_exact(&mut [0]).unwrap();
    drop(taken);
    let _ = input.read(&mut [0]);
}

/// Clients that come while no descriptor is free wait; when some are free again, the server goes on.
#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    use std::io::Write;
    let root = Authority::root("root");
    let server_end = End::new(root.issue(&server()), &root.pem);
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::tests::exhaustion::part", "--nocapture"])
        .env(DIRECTORY, server_end.directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    // Kept to the end: the process still writes to it.
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = output.find(|line| line.starts_with("127.0.0.1:")).unwrap();

    // The kernel completes it; the server cannot take it.
    let mut waiting = TcpStream::connect(&address).unwrap();
    waiting.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    waiting.write_all(b"no TLS").unwrap();
    waiting.read(&mut [0]).expect_err("the server had a descriptor left");
    input.write_all(b"\n").unwrap();
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let answer = call(channel(&format!("https://{address}"), &end.files, PATIENCE).unwrap()).await;
    drop(input);
    process.wait().unwrap();
    answer.unwrap();
}
