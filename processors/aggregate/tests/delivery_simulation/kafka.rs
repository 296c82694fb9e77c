//! The consumer group: who owns what, and what is committed. A commit of a stale member or generation is
//! refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A member of the group, from when it joined until it is expelled or leaves.
pub type Session = u64;

/// A rebalance, as a member hears of it.
#[derive(Clone, Debug)]
pub enum Rebalance {
    Assign(Vec<usize>),
    Revoke(Vec<usize>),
}

/// A commit on its way: all partitions of a member.
#[derive(Clone, Debug)]
pub struct Request {
    pub session: Session,
    pub generation: u64,
    pub positions: Vec<(usize, i64, String)>,
}

/// The group.
#[derive(Default)]
pub struct Group {
    pub members: BTreeSet<Session>,
    pub generation: u64,
    pub committed: Vec<Option<(i64, String)>>,
    owners: Vec<Option<Session>>,
    revoking: Vec<bool>,
    rebalances: BTreeMap<Session, VecDeque<Rebalance>>,
    next: Session,
}

impl Group {
    pub fn new(partitions: usize) -> Group {
        Group {
            committed: vec![None; partitions],
            owners: vec![None; partitions],
            revoking: vec![false; partitions],
            ..Group::default()
        }
    }

    pub fn join(&mut self) -> Session {
        self.next += 1;
        self.members.insert(self.next);
        self.rebalances.insert(self.next, VecDeque::new());
        self.rebalance();
        self.next
    }

    /// The member has gone, whether it knows it or not.
    pub fn remove(&mut self, session: Session) {
        self.members.remove(&session);
        self.rebalances.remove(&session);
        for (owner, revoking) in self.owners.iter_mut().zip(&mut self.revoking) {
            if *owner == Some(session) {
                (*owner, *revoking) = (None, false);
            }
        }
        self.rebalance();
    }

    /// The next rebalance that the member hears of.
    pub fn next_for(&mut self, session: Session) -> Option<Rebalance> {
        self.rebalances.get_mut(&session)?.pop_front()
    }

    /// The member does not use these partitions any more.
    pub fn revoked(&mut self, session: Session, partitions: &[usize]) {
        for partition in partitions {
            if self.owners[*partition] == Some(session) {
                (self.owners[*partition], self.revoking[*partition]) = (None, false);
            }
        }
        self.rebalance();
    }

    /// Whether the commit was taken. `anybody`: of whomever it is.
    pub fn commit(&mut self, request: &Request, anybody: bool) -> bool {
        let current = self.members.contains(&request.session) && request.generation == self.generation;
        let valid = current || anybody;
        if valid {
            for (partition, offset, metadata) in &request.positions {
                self.committed[*partition] = Some((*offset, metadata.clone()));
            }
        }
        valid
    }

    fn rebalance(&mut self) {
        self.generation += 1;
        let members: Vec<Session> = self.members.iter().copied().collect();
        let (mut assigned, mut revoked): (BTreeMap<_, Vec<_>>, BTreeMap<_, Vec<_>>) = Default::default();
        for partition in 0..self.owners.len() {
            let Some(target) = members.get(partition % members.len().max(1)) else { continue };
            match self.owners[partition] {
                None => {
                    self.owners[partition] = Some(*target);
                    assigned.entry(*target).or_default().push(partition);
                }
                Some(owner) if owner != *target && !self.revoking[partition] => {
                    self.revoking[partition] = true;
                    revoked.entry(owner).or_default().push(partition);
                }
                Some(_) => {}
            }
        }
        for (session, partitions) in revoked {
            self.rebalances.entry(session).or_default().push_back(Rebalance::Revoke(partitions));
        }
        for (session, partitions) in assigned {
            self.rebalances.entry(session).or_default().push_back(Rebalance::Assign(partitions));
        }
    }
}
