//! The real sender over a simulated week.

use super::{link::PROBES_MOST, *};
use crate::ledger::LedgerRefused;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A CA that is away until a moment, then takes its time for each batch; remembers when it was asked, and how many asked
/// at once.
#[derive(Clone)]
struct Away {
    until: Instant,
    takes: Duration,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    failed: Vec<Instant>,
    answered: Vec<(Instant, Vec<IssuanceId>)>,
    at_once: usize,
    most_at_once: usize,
}

impl Away {
    fn new(until: Instant, takes: Duration) -> Self {
        Self { until, takes, log: Arc::default() }
    }
}

impl Connector for Away {
    async fn reach(&self) -> Result<(), Unanswered> {
        Ok(())
    }

    async fn submit(&self, batch: &[Submission]) -> Submitted {
        let now = Instant::now();
        {
            let mut log = self.log.lock().unwrap();
            if now < self.until {
                log.failed.push(now);
                return down(None);
            }
            log.at_once += 1;
            log.most_at_once = log.most_at_once.max(log.at_once);
            log.answered.push((now, batch.iter().map(|submission| submission.issuance).collect()));
        }
        tokio::time::sleep(self.takes).await;
        self.log.lock().unwrap().at_once -= 1;
        Ok(refusals(batch))
    }
}

fn running(
    desk: &Arc<Desk>,
    ca: &Away,
    settings: QueueSettings,
    shutdown: &Shutdown,
) -> (watch::Receiver<Link>, tokio::task::JoinHandle<()>) {
    let told = Told { desk: Arc::clone(desk), told: Mutex::default(), deaf: false };
    let (link, view) = watch::channel(Link::default());
    let run = run(Arc::clone(&desk.ledger), ca.clone(), Arc::new(told), settings, link, shutdown.clone());
    (view, tokio::spawn(run))
}

/// A week without the CA: attempts as often as the back-off says, devices accepted up to the bound and then refused with
/// words, nothing recorded by the attempts; then the queue drains in its order, a batch at a time, at the CA's rate.
#[tokio::test(start_paused = true)]
async fn a_week_without_the_ca() {
    const BOUND: usize = 80;
    let desk = Arc::new(Desk::new(BOUND));
    let (began, shutdown) = (Instant::now(), Shutdown::new());
    let ca = Away::new(began + WEEK, Duration::from_millis(200));
    let (mut link, sender) = running(&desk, &ca, SETTINGS, &shutdown);
    let mut ids = Vec::new();
    // A device an hour, until the queue is full, and then the same for the rest of the week.
    for hour in 0..7 * 24 - 1 {
        let serial = format!("SN-{hour}");
        if hour < BOUND {
            ids.push(desk.submitted(&serial));
            desk.ledger.ring();
        } else {
            let refused = desk.start(&asked(&serial)).unwrap_err();
            assert!(matches!(&refused, LedgerRefused::Full(words) if words.contains("wait until the CA answers")));
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(link.borrow().up, Some(false));
    }
    let attempts = ca.log.lock().unwrap().failed.len();
    // Anywhere up to the longest pause, so half of it on average; over so many the average holds.
    let expected = WEEK.as_secs_f64() / (SETTINGS.retry_most.as_secs_f64() / 2.0);
    assert!((attempts as f64) > expected * 0.9 && (attempts as f64) < expected * 1.1, "{attempts}, not {expected}");
    let records = desk.ledger.journal().length();
    assert_eq!(desk.ledger.queue().0, BOUND);
    tokio::time::timeout(WEEK, link.wait_for(|link| link.up == Some(true))).await.unwrap().unwrap();
    while desk.ledger.queue().0 > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shutdown.request();
    sender.await.unwrap();
    let log = ca.log.lock().unwrap();
    let first = log.answered[0].0;
    assert!(first - ca.until <= SETTINGS.retry_most, "it came back within the longest pause");
    assert_eq!((log.most_at_once, log.answered[0].1.len()), (1, 1), "first one, as a probe");
    let drained = log.answered.last().unwrap().0 - first;
    let batches = (BOUND - 1).div_ceil(SETTINGS.batch) as u32;
    // What was a probe before it is set apart from the batches: at most one more of them.
    assert!(log.answered.len() as u32 <= batches + 3, "{} batches", log.answered.len());
    assert!(drained <= ca.takes * (batches + 3), "{drained:?}");
    assert!(log.answered.windows(2).all(|two| two[1].0 - two[0].0 >= ca.takes), "at the CA's rate");
    let mut sent: Vec<_> = log.answered.iter().flat_map(|(_, batch)| batch.clone()).collect();
    // In order, but for the few that were probes.
    let out_of_turn = sent.iter().zip(&sent[1..]).filter(|(a, b)| ids_at(&ids, a) > ids_at(&ids, b)).count();
    assert!(out_of_turn <= PROBES_MOST, "{out_of_turn} out of turn");
    assert!(ids_in_order(&ids, &sent[PROBES_MOST + 4..]), "behind the probes the order is the queue's");
    sent.sort_unstable();
    ids.sort_unstable();
    assert_eq!(sent, ids, "each once");
    assert!(desk.ledger.journal().length() - records <= 2 * BOUND as u64, "the outage itself left no records");
}

fn ids_at(ids: &[IssuanceId], id: &IssuanceId) -> Option<usize> {
    ids.iter().position(|known| known == id)
}

fn ids_in_order(ids: &[IssuanceId], sent: &[IssuanceId]) -> bool {
    sent.windows(2).all(|two| ids_at(ids, &two[0]) < ids_at(ids, &two[1]))
}

/// Stations that lost one CA at the same moment come back spread over the longest pause, each with one probe.
#[tokio::test(start_paused = true)]
async fn stations_do_not_come_back_together() {
    const STATIONS: usize = 8;
    let (began, shutdown) = (Instant::now(), Shutdown::new());
    let ca = Away::new(began + Duration::from_secs(3600), Duration::from_millis(10));
    let mut stations = Vec::new();
    for _ in 0..STATIONS {
        let desk = Arc::new(Desk::new(10));
        for number in 0..6 {
            desk.submitted(&format!("SN-{number}"));
        }
        let (_, sender) = running(&desk, &ca, SETTINGS, &shutdown);
        stations.push((desk, sender));
    }
    tokio::time::sleep(Duration::from_secs(3600) + SETTINGS.retry_most * 2).await;
    shutdown.request();
    let mut first = Vec::new();
    for (desk, sender) in stations {
        sender.await.unwrap();
        assert_eq!(desk.ledger.queue().0, 0);
    }
    let log = ca.log.lock().unwrap();
    for (at, batch) in &log.answered {
        if batch.len() == 1 && !first.iter().any(|before: &Instant| *at - *before < ca.takes) {
            first.push(*at);
        }
    }
    let (earliest, latest) = (first.iter().min().unwrap(), first.iter().max().unwrap());
    // All within two seconds of thirty: once in fifty million runs.
    assert!(*latest - *earliest > Duration::from_secs(2), "{:?}", *latest - *earliest);
    assert!(log.most_at_once < STATIONS, "{} at once", log.most_at_once);
}

/// A link that flaps: whatever is answered between two failures is answered once, in the end all of it, and each time the
/// link comes up one probe goes first.
#[tokio::test(start_paused = true)]
async fn a_flapping_link_loses_nothing() {
    let mut line = line(40);
    let mut turns = 0;
    while !line.waiting().is_empty() {
        turns += 1;
        assert!(turns < 400, "it does not come to an end");
        line.ca.replies.lock().unwrap().clear();
        if turns % 3 != 0 {
            line.ca.will(|_| down(None));
        }
        if let Pause::Until(due) | Pause::QueuedOr(due) = line.sender.send_next().await {
            tokio::time::sleep_until(due).await;
        }
    }
    let told = line.told.told.lock().unwrap();
    assert_eq!(told.len(), 40, "each is told once");
    assert_eq!(told.iter().collect::<std::collections::BTreeSet<_>>().len(), 40);
}
