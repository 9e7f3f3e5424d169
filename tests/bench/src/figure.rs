//! A figure with its limit and its goal, as a line, and all of them together.

use std::fmt;

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Nothing: the figure is told because others are understood by it.
    Told,
}

impl Goal {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
            Self::Told => true,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<={most}"),
            Self::AtLeast(least) => write!(f, ">={least}"),
            Self::Told => f.write_str("none"),
        }
    }
}

/// One measured value beside its limit, measured in the same run or given by the design, both in `unit`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

impl Figure {
    fn ratio(&self) -> f64 {
        self.value / self.limit
    }

    fn is_met(&self) -> bool {
        self.goal.is_met(self.ratio())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, limit, unit, goal } = self;
        write!(f, "bench {name} value={value:.3}{unit} limit={limit:.3}{unit} ratio={:.3} goal={goal}", self.ratio())?;
        if self.is_met() { Ok(()) } else { f.write_str(" MISSED") }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    broken: Vec<String>,
    checked: u64,
}

impl Report {
    /// Takes a figure down and prints it.
    pub(crate) fn figure(&mut self, name: &'static str, value: f64, limit: f64, unit: &'static str, goal: Goal) {
        let figure = Figure { name, value, limit, unit, goal };
        println!("{figure}");
        self.figures.push(figure);
    }

    /// Takes down whether a promise was kept.
    pub(crate) fn promise(&mut self, kept: bool, broken: impl FnOnce() -> String) {
        self.checked += 1;
        if !kept {
            let words = broken();
            println!("bench BROKEN {words}");
            self.broken.push(words);
        }
    }

    /// How many goals were missed.
    pub(crate) fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| !figure.is_met()).count()
    }

    /// Whether every promise was kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, missed) = (self.figures.iter().filter(|figure| figure.goal != Goal::Told).count(), self.missed());
        write!(
            f,
            "bench: {} figures; {} of {all} goals met; {} promises held, {} broken",
            self.figures.len(),
            all - missed,
            self.checked - self.broken.len() as u64,
            self.broken.len()
        )
    }
}

/// The middle value; of none, nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
