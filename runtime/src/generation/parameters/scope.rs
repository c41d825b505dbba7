//! The searches that use a parameter.

/// The searches that use a parameter. Other searches do not check its value, as in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every search.
    Always,
    /// Searches without beams.
    Single,
    /// Searches with beams.
    Beams,
    /// Searches with sampling.
    Sampling,
    /// Contrastive search, which transformers 5 dropped.
    Contrastive,
}

/// The parameters that decide which other parameters a search uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(super) num_beams: usize,
    pub(super) do_sample: bool,
    pub(super) top_k: i64,
}

impl Mode {
    /// Whether this search uses parameters of the scope.
    pub(crate) fn uses(self, scope: Scope) -> bool {
        let single = self.num_beams == 1;
        match scope {
            Scope::Always => true,
            Scope::Single => single,
            Scope::Beams => !single,
            Scope::Sampling => self.do_sample,
            Scope::Contrastive => single && !self.do_sample && self.top_k > 1,
        }
    }
}
