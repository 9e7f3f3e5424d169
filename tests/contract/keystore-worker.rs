//! The program that the contract's workers run, as `station-agent keystore-worker` is for a station.

fn main() -> std::process::ExitCode {
    keystore::worker::run()
}
