//! When a fault strikes: counted in calls, never in time, so that a test strikes where it means to.

/// A fault, and the calls that it strikes. `F` is the fault, `C` how a call is named.
#[derive(Debug, Clone)]
pub struct Injection<F, C> {
    fault: F,
    only: Option<C>,
    except: Vec<C>,
    skip: usize,
    /// `None`: without end.
    times: Option<usize>,
    until: Option<C>,
}

impl<F: Clone, C: PartialEq> Injection<F, C> {
    /// Strikes the next call, once.
    pub fn of(fault: F) -> Self {
        Self { fault, only: None, except: Vec::new(), skip: 0, times: Some(1), until: None }
    }

    /// Counts and strikes calls of this name alone.
    #[must_use]
    pub fn only(mut self, call: impl Into<C>) -> Self {
        self.only = Some(call.into());
        self
    }

    /// Neither counts nor strikes calls of this name. May be said for several.
    #[must_use]
    pub fn except(mut self, call: impl Into<C>) -> Self {
        self.except.push(call.into());
        self
    }

    /// Lets so many calls pass first.
    #[must_use]
    pub fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }

    /// Strikes so many calls.
    #[must_use]
    pub fn times(mut self, calls: usize) -> Self {
        self.times = Some(calls);
        self
    }

    /// Strikes every call from then on.
    #[must_use]
    pub fn for_ever(mut self) -> Self {
        self.times = None;
        self
    }

    /// Strikes every call from then on, until one of this name: that one is not struck, and ends it.
    #[must_use]
    pub fn until(mut self, call: impl Into<C>) -> Self {
        self.until = Some(call.into());
        self.for_ever()
    }

    fn counts(&self, call: &C) -> bool {
        self.only.as_ref().is_none_or(|only| only == call) && !self.except.contains(call)
    }
}

/// What strikes a call, if anything does. Of several injections that would, the oldest; what is spent is removed.
pub(crate) fn strike<F: Clone, C: PartialEq>(injections: &mut Vec<Injection<F, C>>, call: &C) -> Option<F> {
    injections.retain(|injection| injection.until.as_ref() != Some(call));
    let mut struck = None;
    for injection in injections.iter_mut().filter(|injection| injection.counts(call)) {
        if injection.skip > 0 {
            injection.skip -= 1;
        } else if struck.is_none() && injection.times != Some(0) {
            injection.times = injection.times.map(|times| times - 1);
            struck = Some(injection.fault.clone());
        }
    }
    injections.retain(|injection| injection.times != Some(0));
    struck
}

#[cfg(test)]
mod tests {
    use super::*;

    type Named = Injection<char, &'static str>;

    fn struck(mut injections: Vec<Named>, calls: &'static str) -> String {
        let mut told = String::new();
        for call in calls.split(' ') {
            told.push(strike(&mut injections, &call).unwrap_or('.'));
        }
        told
    }

    /// Every way of saying when, each over a row of calls: a letter where the fault struck, a point where it did not.
    #[test]
    fn faults_strike_where_they_were_told_to() {
        let of = || Named::of('x');
        for (injection, expected) in [
            (of(), "x....."),
            (of().after(2), "..x..."),
            (of().after(1).times(2), ".xx..."),
            (of().for_ever(), "xxxxxx"),
            (of().only("b"), ".x...."),
            (of().only("b").after(1).for_ever(), "...x.x"),
            (of().except("a").for_ever(), ".xxx.x"),
            (of().until("c"), "xx...."),
            (of().times(0), "......"),
        ] {
            assert_eq!(struck(vec![injection.clone()], "a b c b a b"), expected, "{injection:?}");
        }
    }

    /// Two faults for one call: the older one strikes, and the younger one keeps its turn.
    #[test]
    fn of_two_the_older_strikes() {
        assert_eq!(struck(vec![Named::of('x'), Named::of('y')], "a a a"), "xy.");
    }
}
