//! The short form of `make interop-ca`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use interop::{Plan, compare, run};

/// Every profile with each device key that is made in no time and each hash: nobody finds anything that the table in the CA's
/// README does not tell, and the table tells nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn others_accept_what_the_ca_issues() {
    let binaries = Path::new(env!("CARGO_BIN_EXE_interop-ca")).parent().unwrap();
    let table = run(&Plan::short(binaries), &|words| println!("{words}")).await.unwrap();
    assert_eq!(table.unexplained(), [""; 0]);
    assert_eq!(compare(&table).unwrap(), [""; 0], "run `make interop-ca`");
}
