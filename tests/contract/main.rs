//! The contract of [`issuance::Keystore`]: one suite for every implementation, on real devices.
//!
//! [`suite`] holds what all of them promise and is run for a TPM in this process, a TPM behind a worker and a token
//! behind a worker (a process loads a PKCS#11 module once, so that tokens are never in this one). [`tpm`], [`attest`], [`pkcs11`] and
//! [`process`] hold what only one of them can show, [`imported`] what other programs put into them, and [`faults`] what becomes of each when its hardware is in trouble.
//! Devices are swtpm and SoftHSM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attest;
mod bench;
mod ca;
mod faults;
mod imported;
mod pkcs11;
mod process;
mod suite;
mod tpm;
mod wire;

/// Runs the whole suite on one kind of bench.
macro_rules! contract {
    ($($name:ident => $bench:expr;)*) => {$(
        mod $name {
            use crate::{bench::Bench, suite};
            $crate::contract!(@tests $bench,
                an_absent_key_is_none
                a_generated_key_is_found_again
                generating_twice_keeps_the_first_key
                a_removed_key_makes_place
                signatures_verify_for_each_algorithm
                another_hash_is_signed_with_or_refused
                many_messages_are_signed_in_one_call
                evidence_is_proof_for_its_key_alone
                a_certificate_comes_back_byte_for_byte
                writing_again_changes_nothing_and_another_is_refused
                a_superseded_certificate_makes_place
                ten_visits_leave_nothing_behind
                key_and_certificate_outlive_a_restart
                no_device_is_absent
                what_is_not_there_is_not_found
                a_place_on_another_kind_of_device_is_misconfigured
            );
        }
    )*};
    (@tests $bench:expr, $($test:ident)*) => {$(
        #[test]
        fn $test() {
            let bench: fn() -> Bench = $bench;
            suite::$test(&mut bench());
        }
    )*};
}
pub(crate) use contract;

contract! {
    tpm_in_process => Bench::tpm_in_process;
    tpm_behind_a_worker => Bench::tpm_behind_a_worker;
    token_behind_a_worker => Bench::token_behind_a_worker;
}
