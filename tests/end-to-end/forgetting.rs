//! What is looked things up in is lost, and nothing is forgotten.

use std::fs;

use proto::ca::v1::{
    IssueBatchRequest, Refused, certificate_authority_service_client::CertificateAuthorityServiceClient,
    issue_result::Outcome,
};
use tonic::Code;

use crate::asking::{bounded, complete, line_of, of_software, open_lot, refusal, scan, start, start_issuance};

/// A certificate is issued, station and CA are killed, and both lose their rows on sled: a second request for its name,
/// written in another case, is refused by the station and, asked itself, by the CA.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_stays_taken_without_the_rows() {
    let mut line = start(line_of(0, 2)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let issued = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    line.kill_station().unwrap();
    line.kill_ca().unwrap();
    for journal in ["journal/station", "journal/ca"] {
        fs::remove_dir_all(line.directory().join(journal).join("projections")).unwrap();
    }
    line.start_ca().await.unwrap();
    line.start_station().await.unwrap();

    let again = start_issuance(&line, scan("LOT-1", "sn-1", "fixture-2")).await.unwrap_err();
    assert_eq!(refusal(&again), (Code::AlreadyExists, "COMMON_NAME_TAKEN".into(), String::new()), "{again:?}");

    let request = of_software("SN-9", &issued.common_name.to_lowercase());
    let mut ca = CertificateAuthorityServiceClient::new(line.authority().unwrap());
    let batch = IssueBatchRequest { requests: vec![request] };
    let answer = bounded("the CA's answer", ca.issue_batch(batch)).await.unwrap().into_inner();
    let outcome = answer.results.into_iter().next().and_then(|result| result.outcome);
    let Some(Outcome::Refused(Refused { reason, .. })) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "COMMON_NAME_TAKEN");
}
