//! A bucket of a model server in this process, for the program in another.

use crate::machine::{Machine, Ran};
use crate::support::model::{Mode, Model};

/// The server, and the threads that it answers on.
pub(crate) struct Bucket {
    pub(crate) model: Model,
    _runtime: tokio::runtime::Runtime,
}

impl Bucket {
    pub(crate) fn new(mode: Mode) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { model: runtime.block_on(Model::start(mode)), _runtime: runtime }
    }

    /// Runs the program of `machine` against this server; in what it prints the endpoint is `ENDPOINT`.
    pub(crate) fn run(&self, machine: &Machine, args: &[&str]) -> Ran {
        let mut command = machine.command(args);
        command.envs(self.model.environment());
        let ran = machine.finish(command);
        let shown = |text: &str| text.replace(&self.model.endpoint, "ENDPOINT");
        Ran { out: shown(&ran.out), err: shown(&ran.err), ..ran }
    }

    /// A run that succeeds.
    pub(crate) fn succeeds(&self, machine: &Machine, args: &[&str]) -> Ran {
        let ran = self.run(machine, args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran
    }

    /// The standard output of a run that succeeds.
    pub(crate) fn ok(&self, machine: &Machine, args: &[&str]) -> String {
        self.succeeds(machine, args).out
    }

    /// The error of a run that fails with `code`.
    pub(crate) fn fails(&self, machine: &Machine, code: i32, args: &[&str]) -> String {
        let ran = self.run(machine, args);
        assert_eq!((ran.code, &*ran.out), (code, ""), "{args:?}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran.err
    }
}
