//! Every drill: what it does, what it needs, what it risks.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillHeadwater,
    KillLeader,
    FreezeLeader,
    KillStore,
    FreezeStore,
    PartitionStore,
    ThrottleStore,
    FlushStore,
    KillSource,
    FreezeSource,
    PartitionSource,
    PromoteStandby,
    LoseJournal,
    CorruptJournal,
    CorruptState,
    FillDisk,
    Poison,
    /// Of the live system too: the connection to a store is given up in the middle of whatever it does.
    CutStore,
    /// Of the live system too: the leader stops leading for a moment.
    StepDown,
}

/// What has to be installed for a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// A store that is a server.
    StoreServer,
    /// A source that is a server.
    SourceServer,
}

impl Needs {
    pub fn what(self) -> &'static str {
        match self {
            Needs::Nothing => "nothing",
            Needs::StoreServer => "a store's server",
            Needs::SourceServer => "a source's server",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Drill {
    pub name: &'static str,
    pub what: &'static str,
    pub fault: Fault,
    pub needs: Needs,
    /// `None`: in a sandbox only. Otherwise what it does to the live system.
    pub live_risk: Option<&'static str>,
}

const fn sandbox(name: &'static str, fault: Fault, needs: Needs, what: &'static str) -> Drill {
    Drill { name, what, fault, needs, live_risk: None }
}

pub const DRILLS: [Drill; 19] = [
    sandbox(
        "kill-headwater",
        Fault::KillHeadwater,
        Needs::Nothing,
        "kill -9 of the only instance under load; a supervisor starts it again",
    ),
    sandbox(
        "kill-leader",
        Fault::KillLeader,
        Needs::Nothing,
        "kill -9 of the leader of two instances on one data folder; the other takes over",
    ),
    sandbox(
        "freeze-leader",
        Fault::FreezeLeader,
        Needs::SourceServer,
        "SIGSTOP of the leader of two instances, each with a data folder of its own, until the other leads; then SIGCONT",
    ),
    sandbox(
        "kill-store",
        Fault::KillStore,
        Needs::StoreServer,
        "kill -9 of a store; one that keeps nothing on disk comes back empty",
    ),
    sandbox(
        "freeze-store",
        Fault::FreezeStore,
        Needs::StoreServer,
        "SIGSTOP of a store for 5 s: connections stay open, nothing answers",
    ),
    sandbox(
        "partition-store",
        Fault::PartitionStore,
        Needs::StoreServer,
        "the network to a store is cut for 5 s",
    ),
    sandbox(
        "throttle-store",
        Fault::ThrottleStore,
        Needs::StoreServer,
        "the network to a store passes 4 KiB a second for 8 s",
    ),
    sandbox("flush-store", Fault::FlushStore, Needs::Nothing, "a store is emptied behind Headwater's back"),
    sandbox(
        "kill-source",
        Fault::KillSource,
        Needs::SourceServer,
        "kill -9 of the source's server under load; it is started again after 2 s",
    ),
    sandbox(
        "freeze-source",
        Fault::FreezeSource,
        Needs::SourceServer,
        "SIGSTOP of the source's server and its workers for 5 s",
    ),
    sandbox(
        "partition-source",
        Fault::PartitionSource,
        Needs::SourceServer,
        "the network to the source is cut for 5 s",
    ),
    sandbox(
        "promote-standby",
        Fault::PromoteStandby,
        Needs::SourceServer,
        "kill -9 of a primary with an asynchronous standby; the standby, which has no slot, is promoted behind the same address",
    ),
    sandbox(
        "lose-journal",
        Fault::LoseJournal,
        Needs::Nothing,
        "kill -9, and the journal's folder is gone at the next start",
    ),
    sandbox(
        "corrupt-journal",
        Fault::CorruptJournal,
        Needs::Nothing,
        "kill -9, and a bit of the journal flips before the next start",
    ),
    sandbox(
        "corrupt-state",
        Fault::CorruptState,
        Needs::Nothing,
        "kill -9, and the local state is overwritten with noise before the next start",
    ),
    sandbox(
        "fill-disk",
        Fault::FillDisk,
        Needs::Nothing,
        "no file of Headwater's may grow for 5 s: writes fail with EFBIG, which stands for ENOSPC and needs no root",
    ),
    sandbox(
        "poison",
        Fault::Poison,
        Needs::Nothing,
        "a row that one of the stores cannot take, under load; then it is mended",
    ),
    Drill {
        name: "cut-store",
        what: "the connection to a store is given up in the middle of whatever it does",
        fault: Fault::CutStore,
        needs: Needs::Nothing,
        live_risk: Some(
            "readers of the store are sent elsewhere until it is connected again, a fraction of a second later",
        ),
    },
    Drill {
        name: "step-down",
        what: "the leader stops leading for 3 s: a standby takes over if there is one, else it leads again",
        fault: Fault::StepDown,
        needs: Needs::Nothing,
        live_risk: Some(
            "stores stand still, and readers fall back to the source, until an instance leads again",
        ),
    },
];

pub fn find(name: &str) -> Option<&'static Drill> {
    DRILLS.iter().find(|drill| drill.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_for_a_command_line_and_each_is_in_the_docs() {
        let docs = include_str!("../../../../docs/drills.md");
        for (i, drill) in DRILLS.iter().enumerate() {
            assert!(drill.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", drill.name);
            assert!(DRILLS[..i].iter().all(|other| other.name != drill.name && other.fault != drill.fault));
            let row = format!("| `{}` | {} | {} |", drill.name, drill.what, drill.needs.what());
            assert!(docs.contains(&row), "docs/drills.md lacks\n{row}");
        }
    }
}
