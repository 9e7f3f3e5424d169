//! What is believed of a witness's answers: a server that says what each case has it say.

use std::{net::SocketAddr, sync::Mutex};

use journal::{TransparencyLog, Witness};
use proto::ca::v1::{
    self as wire,
    certificate_authority_service_server::{CertificateAuthorityService, CertificateAuthorityServiceServer},
    cosign_checkpoint_response::Outcome as Said,
};
use tonic::{
    Request, Response, Status,
    transport::{Endpoint, Server, server::TcpIncoming},
};

use super::*;
use crate::{Told, Witnessing};

type Answer = Box<dyn FnMut(wire::CosignCheckpointRequest) -> Option<Said> + Send>;

struct Answering(Arc<Mutex<Answer>>);

#[tonic::async_trait]
impl CertificateAuthorityService for Answering {
    async fn issue_batch(
        &self,
        _: Request<wire::IssueBatchRequest>,
    ) -> Result<Response<wire::IssueBatchResponse>, Status> {
        Err(Status::unimplemented("a witness alone"))
    }

    async fn confirm_batch(
        &self,
        _: Request<wire::ConfirmBatchRequest>,
    ) -> Result<Response<wire::ConfirmBatchResponse>, Status> {
        Err(Status::unimplemented("a witness alone"))
    }

    async fn get_authority(&self, _: Request<wire::GetAuthorityRequest>) -> Result<Response<wire::Authority>, Status> {
        Err(Status::unimplemented("a witness alone"))
    }

    async fn cosign_checkpoint(
        &self,
        request: Request<wire::CosignCheckpointRequest>,
    ) -> Result<Response<wire::CosignCheckpointResponse>, Status> {
        let outcome = (self.0.lock().unwrap())(request.into_inner());
        Ok(Response::new(wire::CosignCheckpointResponse { outcome }))
    }
}

async fn serve(answer: Arc<Mutex<Answer>>) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let service = CertificateAuthorityServiceServer::new(Answering(answer));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(socket)));
    address
}

/// A cosignature counts when the key that came with it is a witness's and made it over this very checkpoint; anything else is an
/// error in words, and nothing is kept. A contradiction is told as one, a proof that is asked for again and again is not given for
/// ever, and sizes that were never reached do no harm.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_witness_of_this_checkpoint_is_believed() {
    let world = World::new();
    let authority = world.open();
    issued(&issue_one(&authority, &submission(1)).await);
    authority.close().await.unwrap();
    let options = world.settings.journal_options();
    let (_journal, log, _) = TransparencyLog::open(&options, world.settings.checkpoints.clone()).unwrap();
    let size = log.newest().0.size;
    let witness = |name: &str| {
        let at = |part: &str| world.path().join(format!("{name}-{part}"));
        Arc::new(Witness::open(&at("seen"), &at("key"), &format!("{name}/witness")).unwrap())
    };
    let (own, other) = (witness("one"), witness("two"));
    let cosigned = |by: &Arc<Witness>, key: String, change: fn(String) -> String| -> Answer {
        let by = by.clone();
        Box::new(move |asked| {
            let signature = by.cosign("ca-1", &asked.key, &asked.checkpoint, asked.old_size, &[]).unwrap();
            Some(Said::Cosigned(wire::Cosigned { signature: change(signature.to_string()), key: key.clone() }))
        })
    };
    let plain = |text: String| text;
    let altered = |text: String| {
        let at = text.len() - 8;
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let key = own.key().to_string();
    let proof = |size: u64| -> Answer { Box::new(move |_| Some(Said::ProofFrom(size))) };
    let cases: Vec<(&str, Answer, &str)> = vec![
        ("another witness's", cosigned(&other, key.clone(), plain), "does not verify"),
        ("altered", cosigned(&own, key.clone(), altered), "does not verify"),
        ("no signature", cosigned(&own, key.clone(), |_| "x".to_owned()), "does not verify"),
        ("no key", cosigned(&own, String::new(), plain), "does not verify"),
        ("the log's own key", cosigned(&own, log.key().to_string(), plain), "does not verify"),
        ("nothing", Box::new(|_| None), "says nothing"),
        ("one proof after another", proof(1), "one proof after another"),
        ("a size beyond it", proof(size + 1), ""),
        ("the largest size", proof(u64::MAX), ""),
    ];
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|_| None)));
    let address = serve(answer.clone()).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let witnessing = Witnessing::new(log.clone(), channel, Duration::from_secs(60));
    for (what, says, words) in cases {
        *answer.lock().unwrap() = says;
        let wrong = witnessing.send(0).await.expect_err(what);
        assert!(wrong.contains(words), "{what}: {wrong}");
    }
    let kept = world.settings.journal.join("tlog/checkpoint.cosigned");
    assert!(!kept.exists(), "nothing was believed");

    *answer.lock().unwrap() = Box::new(|_| {
        let (reason, message) = ("FORKED".to_owned(), "it saw another one".to_owned());
        Some(Said::Contradicted(wire::Contradicted { reason, message }))
    });
    assert_eq!(witnessing.send(0).await, Ok(Told::Contradicted("it saw another one".to_owned())));
    assert_eq!(witnessing.follow(std::future::pending()).await.as_deref(), Some("it saw another one"));
    *answer.lock().unwrap() = cosigned(&own, key, plain);
    assert_eq!(witnessing.send(0).await, Ok(Told::Cosigned(size)));
    assert!(std::fs::read_to_string(&kept).unwrap().contains("one/witness"));
}
