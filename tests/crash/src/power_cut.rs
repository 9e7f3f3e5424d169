//! Power cuts: the writer is frozen, what the device has by then is copied, and the copy is mounted and judged.
//!
//! The kernel may write back any page of what was not synced at any time. So before the copy, some pages of the last
//! segments are written back, as the kernel might have done: only then are torn tails met at all.
//!
//! Two controls: a writer whose syncs are pretended must lose, else this harness could not see a loss; and a plain
//! append and fdatasync must not, else the ground it stands on is not firm.

use std::{
    fmt,
    fs::{self, File},
    num::NonZeroU64,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};

use crate::{
    Broken,
    chance::Chance,
    claims::Claims,
    image::Image,
    process::{Running, Syncs},
    said,
    verify::verify,
    writer::{JOURNAL, Writer, read_baseline},
};

/// How much is cut.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What all choices follow from.
    pub seed: u64,
    /// Cuts of journals that begin empty.
    pub fresh: u64,
    /// Cuts of journals that have a past.
    pub aged: u64,
    /// Segments of that past.
    pub segments: usize,
    /// Cuts of each control.
    pub controls: u64,
    /// No cut begins after so long; the closing line then says how many there were.
    pub within: Duration,
    /// The writer's program.
    pub program: PathBuf,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    fresh: u64,
    aged: u64,
    torn: u64,
    acknowledged: u64,
    lost: Vec<Broken>,
    control: u64,
    control_lost: u64,
    baseline: u64,
    baseline_lost: Vec<Broken>,
    late: bool,
}

impl Outcome {
    /// Everything that speaks against the journal or against this harness.
    pub fn broken(&self) -> Vec<Broken> {
        let mut broken = self.lost.clone();
        broken.extend(self.baseline_lost.iter().map(|lost| format!("baseline: {lost}")));
        if self.control_lost == 0 {
            broken
                .push(format!("{} cuts without sync lost nothing: this harness cannot see a loss here", self.control));
        }
        if self.acknowledged == 0 {
            broken.push("nothing was ever acknowledged".to_owned());
        }
        if self.late {
            broken.push("there was no time for all of the cuts".to_owned());
        }
        broken
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fresh, aged, torn, control_lost, acknowledged, .. } = self;
        write!(
            f,
            "power-cut: cuts={} fresh={fresh} aged={aged} acknowledged={acknowledged} lost={} torn={torn} \
             control-without-sync-lost={control_lost} baseline-lost={}",
            fresh + aged,
            self.lost.len(),
            self.baseline_lost.len()
        )
    }
}

/// Cuts as planned. `say` hears of each cut that broke something.
///
/// # Errors
/// What keeps this harness from working. What speaks against the journal is in the outcome.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Outcome, Broken> {
    let place = tempfile::tempdir().map_err(said("could not make a directory"))?;
    let place = place.path();
    let bench = Bench { plan, place, empty: Image::make(place.join("empty"))?, until: Instant::now() + plan.within };
    let mut chance = Chance::new(plan.seed);
    let mut outcome = Outcome::default();
    bench.controls(&mut chance, &mut outcome)?;
    bench.fresh(&mut chance, &mut outcome, say)?;
    bench.aged(&mut chance, &mut outcome, say)?;
    Ok(outcome)
}

struct Bench<'a> {
    plan: &'a Plan,
    place: &'a Path,
    empty: Image,
    until: Instant,
}

/// What one cut left.
struct Left {
    image: Image,
    /// Records that this run said were acknowledged.
    acknowledged: u64,
}

impl Bench<'_> {
    fn controls(&self, chance: &mut Chance, outcome: &mut Outcome) -> Result<(), Broken> {
        for _ in 0..self.plan.controls {
            let mut claims = Claims::default();
            let writer = self.writer(chance.bits());
            let left =
                self.cut(chance, &self.empty.copy(self.place.join("live"))?, &writer, Syncs::Pretended, &mut claims)?;
            outcome.control += 1;
            outcome.control_lost +=
                u64::from(left.acknowledged > 0 && self.judge(&left.image, &writer, &claims)?.is_err());

            let mut claims = Claims::default();
            let writer = Writer { baseline: true, ..self.writer(chance.bits()) };
            let left =
                self.cut(chance, &self.empty.copy(self.place.join("live"))?, &writer, Syncs::Real, &mut claims)?;
            let mounted = left.image.mount(self.place.join("after"))?;
            outcome.baseline += 1;
            match read_baseline(mounted.path(), writer.seed) {
                Ok(records) if records >= claims.end() => {}
                Ok(records) => outcome.baseline_lost.push(format!("{records} of {} records", claims.end())),
                Err(_) if claims.end() == 0 => {}
                Err(broken) => outcome.baseline_lost.push(broken),
            }
        }
        Ok(())
    }

    /// Each begins with an empty file system.
    fn fresh(&self, chance: &mut Chance, outcome: &mut Outcome, say: &mut dyn FnMut(&str)) -> Result<(), Broken> {
        for nth in 0..self.plan.fresh {
            if self.is_late(outcome) {
                break;
            }
            let mut claims = Claims::default();
            let writer = self.writer(chance.bits());
            let live = self.empty.copy(self.place.join("live"))?;
            let left = self.cut(chance, &live, &writer, syncs(nth), &mut claims)?;
            outcome.fresh += 1;
            outcome.acknowledged += left.acknowledged;
            match self.judge(&left.image, &writer, &claims)? {
                Ok(sound) => outcome.torn += u64::from(sound.torn),
                Err(broken) => outcome.lost(format!("fresh cut {nth}: {broken}"), say),
            }
        }
        Ok(())
    }

    /// Each goes on with what the one before left, until that is large.
    fn aged(&self, chance: &mut Chance, outcome: &mut Outcome, say: &mut dyn FnMut(&str)) -> Result<(), Broken> {
        let old_seed = chance.bits() >> 1;
        let (old, old_claims) = self.age(old_seed)?;
        let mut stands: Option<(Image, Claims)> = None;
        for nth in 0..self.plan.aged {
            if self.is_late(outcome) {
                break;
            }
            let (live, mut claims) = match stands.take() {
                Some((image, claims)) => {
                    // The copy of the cut before becomes what is written to now.
                    (image.copy(self.place.join("live"))?, claims)
                }
                None => (old.copy(self.place.join("live"))?, old_claims.clone()),
            };
            let writer = Writer { run: claims.run + 1, seed: old_seed, ..self.writer(chance.bits()) };
            let left = self.cut(chance, &live, &writer, syncs(nth), &mut claims)?;
            outcome.aged += 1;
            outcome.acknowledged += left.acknowledged;
            match self.judge(&left.image, &writer, &claims)? {
                Ok(sound) => {
                    outcome.torn += u64::from(sound.torn);
                    // To rebuild the rows of more would take longer than the cut.
                    if sound.records < 8000 {
                        stands = Some((left.image, Claims { kept: sound.records, ..claims }));
                    }
                }
                Err(broken) => outcome.lost(format!("aged cut {nth}: {broken}"), say),
            }
        }
        Ok(())
    }

    /// An image with a journal that has a past, closed in order.
    fn age(&self, seed: u64) -> Result<(Image, Claims), Broken> {
        let image = self.empty.copy(self.place.join("old"))?;
        let mounted = image.mount(self.place.join("before"))?;
        let directory = mounted.path().to_owned();
        let writer = Writer {
            directory,
            seed,
            aged: self.plan.segments,
            segment_bytes: 64 * 1024,
            groups: Some(0),
            ..self.writer(seed)
        };
        let running = Running::start(&self.plan.program, &writer, Syncs::Real, self.place)?;
        let told = running.told().to_owned();
        let (status, wrong) = running.finish()?;
        if !status.success() {
            return Err(format!("the journal could not be aged: {wrong}"));
        }
        let mut claims = Claims::default();
        claims.add(&told, 0)?;
        Ok((image, claims))
    }

    /// A writer of small or large groups, in small or larger segments.
    fn writer(&self, seed: u64) -> Writer {
        let mut chance = Chance::new(seed);
        Writer {
            directory: self.place.join("live-mount"),
            seed: chance.bits() >> 1,
            run: 0,
            threads: 4,
            groups: None,
            // The kernel writes up to 64 KiB at once: only a larger group is likely to be torn.
            group: [2, 16, 64, 128][chance.below(4) as usize],
            segment_bytes: [64, 128, 512][chance.below(3) as usize] * 1024,
            aged: 0,
            rows: true,
            hold: false,
            baseline: false,
        }
    }

    /// Runs the writer on `live` until a moment that chance chooses, and gives what the device has then.
    fn cut(
        &self,
        chance: &mut Chance,
        live: &Image,
        writer: &Writer,
        syncs: Syncs,
        claims: &mut Claims,
    ) -> Result<Left, Broken> {
        let mounted = live.mount(writer.directory.clone())?;
        let mut writer = writer.clone();
        let moment = chance.below(6);
        if moment == 2 {
            // A large group would grow the file, and its sync would take the new name along with the new length.
            (writer.group, writer.segment_bytes) = (2, 64 * 1024);
        }
        let mut running = Running::start(&self.plan.program, &writer, syncs, self.place)?;
        // An acknowledgement was just said: the moment must fall anywhere between it and some of the next.
        let longest = if syncs == Syncs::Slow { 80_000 } else { 4000 };
        let mut acknowledged = 0;
        match moment {
            // While it opens or makes the first segment.
            0 if syncs != Syncs::Pretended => thread::sleep(Duration::from_micros(chance.below(30_000))),
            // Just after it was killed and started again: what it found in memory alone, it must have synced.
            1 if syncs == Syncs::Slow => {
                running.await_lines(2 + chance.below(20) as usize)?;
                thread::sleep(Duration::from_micros(chance.below(longest)));
                let told = running.told().to_owned();
                drop(running);
                acknowledged = claims.add(&told, writer.run)?;
                writer.run += 1;
                running = Running::start(&self.plan.program, &writer, syncs, self.place)?;
                running.await_lines(1)?;
                thread::sleep(Duration::from_micros(chance.below(2000)));
            }
            // Just after a roll, whose new name must be on the disk before anything in it is acknowledged.
            2 if !writer.baseline => running.await_roll(&writer.directory.join(JOURNAL), chance.below(4) as usize)?,
            _ => {
                running.await_lines(2 + chance.below(60) as usize)?;
                thread::sleep(Duration::from_micros(chance.below(longest)));
            }
        }
        running.freeze()?;
        if syncs != Syncs::Pretended {
            write_some_pages_back(&writer.directory.join(JOURNAL), chance);
        }
        let image = live.copy_when_still(self.place.join("left"))?;
        let told = running.told().to_owned();
        drop(running);
        drop(mounted);
        acknowledged += claims.add(&told, writer.run)?;
        Ok(Left { image, acknowledged })
    }

    fn judge(
        &self,
        image: &Image,
        writer: &Writer,
        claims: &Claims,
    ) -> Result<Result<crate::verify::Sound, Broken>, Broken> {
        let mounted = image.mount(self.place.join("after"))?;
        Ok(verify(&Writer { directory: mounted.path().to_owned(), ..writer.clone() }, claims))
    }

    fn is_late(&self, outcome: &mut Outcome) -> bool {
        outcome.late = Instant::now() > self.until;
        outcome.late
    }
}

impl Outcome {
    fn lost(&mut self, broken: Broken, say: &mut dyn FnMut(&str)) {
        say(&broken);
        self.lost.push(broken);
    }
}

/// Two of three cuts with slow syncs: they fall between a write and its sync.
fn syncs(nth: u64) -> Syncs {
    if nth.is_multiple_of(3) { Syncs::Real } else { Syncs::Slow }
}

/// Starts the writing of some pages at the end of the newest two segments, as the kernel may at any time: nothing is
/// flushed, and no metadata written. Linux writes its large folios whole, so a stretch is chosen, not single pages.
fn write_some_pages_back(journal: &Path, chance: &mut Chance) {
    const PAGE: u64 = 4096;
    let Ok(names) = fs::read_dir(journal) else { return };
    let mut paths: Vec<_> = names.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "seg" || end == "new"));
    paths.sort();
    for path in paths.iter().rev().take(2) {
        let (Ok(file), Ok(bytes)) = (File::open(path), fs::read(path)) else { continue };
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 / PAGE + 1);
        // Groups have from one page to a hundred.
        let reach = 2 << chance.below(6);
        let (one, other) = (used.saturating_sub(chance.below(reach)), used.saturating_sub(chance.below(reach)));
        let stretch = match chance.below(4) {
            0 => 0..used,
            1 => 0..one,
            2 => one..used,
            _ => one.min(other)..one.max(other),
        };
        if let Some(length) = NonZeroU64::new((stretch.end - stretch.start) * PAGE) {
            // Linux starts the writing of dirty pages that are said not to be needed.
            let _ = fadvise(&file, stretch.start * PAGE, Some(length), Advice::DontNeed);
        }
    }
}
