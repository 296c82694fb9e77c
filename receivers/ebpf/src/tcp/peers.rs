//! Connections, and what is added up of them between two reports.

use std::collections::HashMap;
use std::net::IpAddr;

use super::points::{Point, PointKind, Times};
use crate::kernel::event::{ConnectionId, Role, Tcp};

/// For what figures are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) tgid: u32,
    pub(crate) cgroup: u64,
    pub(crate) role: Role,
    /// The other side. `None`: of peers beyond those that are told apart.
    pub(crate) address: Option<IpAddr>,
    /// The port that is listened on, at whichever side.
    pub(crate) port: u16,
    /// Of a client's side when each connection has points of its own: its other port.
    pub(crate) own_port: Option<u16>,
}

/// What was added up for one peer.
#[derive(Clone, Debug, Default)]
struct Figures {
    opened: u64,
    closed: u64,
    failed: [u64; FAILURES.len()],
    sent: u64,
    received: u64,
    retransmits: u64,
    resets_received: u64,
    resets_sent: u64,
    connect: Times,
    lasted: Times,
    rtt: Times,
    open: u64,
}

/// Why connecting failed: errors of Linux, and their names.
const FAILURES: [(i32, &str); 6] = [
    (111, "ECONNREFUSED"),
    (110, "ETIMEDOUT"),
    (113, "EHOSTUNREACH"),
    (101, "ENETUNREACH"),
    (104, "ECONNRESET"),
    (0, "aborted"),
];

const STATE_SYN_SENT: u8 = 2;

/// What a connection had at the last report.
#[derive(Clone, Copy, Debug)]
struct Told {
    sent: u64,
    received: u64,
    retransmits: u32,
    /// The report at which it was last seen open.
    report: u64,
}

/// The figures of all connections. Bounded.
#[derive(Debug)]
pub(crate) struct Peers {
    figures: HashMap<Peer, Figures>,
    told: HashMap<ConnectionId, Told>,
    most: usize,
    most_connections: usize,
    each_connection: bool,
    report: u64,
}

impl Peers {
    pub(crate) fn new(most: usize, most_connections: usize, each_connection: bool) -> Peers {
        let (figures, told) = (HashMap::new(), HashMap::new());
        Peers { figures, told, most, most_connections, each_connection, report: 1 }
    }

    /// A connection was established.
    pub(crate) fn established(&mut self, tcp: &Tcp) {
        let figures = self.of(tcp);
        figures.opened += 1;
        if tcp.role == Role::Client {
            figures.connect.add(tcp.established.saturating_sub(tcp.id.started));
        }
        // What it moves from here on.
        self.keep(&Tcp { sent: 0, received: 0, retransmits: 0, ..*tcp }, self.report - 1);
    }

    /// A connection was closed, or was never established.
    pub(crate) fn closed(&mut self, tcp: &Tcp) {
        let told = self.told.remove(&tcp.id);
        let figures = self.of(tcp);
        figures.resets_received += u64::from(tcp.resets_received);
        figures.resets_sent += u64::from(tcp.resets_sent);
        if tcp.before == STATE_SYN_SENT {
            let known = FAILURES.iter().position(|(error, _)| *error == tcp.error);
            figures.failed[known.unwrap_or(FAILURES.len() - 1)] += 1;
            figures.retransmits += u64::from(tcp.retransmits);
            return;
        }
        figures.closed += 1;
        if tcp.established > 0 {
            figures.lasted.add(tcp.time.saturating_sub(tcp.established));
        }
        figures.grow(tcp, told.as_ref());
    }

    /// A connection is open.
    pub(crate) fn open(&mut self, tcp: &Tcp) {
        let told = self.told.get(&tcp.id).copied();
        if told.is_some_and(|told| told.report == self.report) {
            // Several processes have it.
            return;
        }
        let figures = self.of(tcp);
        figures.open += 1;
        // One of before the start: what it moved until now is not ours.
        if told.is_some() || tcp.fresh {
            figures.grow(tcp, told.as_ref());
        }
        self.keep(tcp, self.report);
    }

    fn keep(&mut self, tcp: &Tcp, report: u64) {
        let Tcp { sent, received, retransmits, .. } = *tcp;
        if self.told.len() < self.most_connections || self.told.contains_key(&tcp.id) {
            self.told.insert(tcp.id, Told { sent, received, retransmits, report });
        }
    }

    fn of(&mut self, tcp: &Tcp) -> &mut Figures {
        let (role, ends) = (tcp.role, tcp.ends);
        let is_server = role == Role::Server;
        let (port, other) = if is_server {
            (ends.local.port(), ends.remote.port())
        } else {
            (ends.remote.port(), ends.local.port())
        };
        let own_port = self.each_connection.then_some(other);
        let address = Some(ends.remote.ip());
        let mut peer = Peer { tgid: tcp.tgid, cgroup: tcp.cgroup, role, address, port, own_port };
        if self.figures.len() >= self.most && !self.figures.contains_key(&peer) {
            peer = Peer { address: None, port: 0, own_port: None, ..peer };
        }
        self.figures.entry(peer).or_default()
    }

    /// The points since the last report, and a new report begins. Connections that were neither open nor
    /// closed for two reports are forgotten.
    pub(crate) fn report(&mut self) -> Vec<(Peer, Vec<Point>)> {
        let report = self.report;
        self.told.retain(|_, told| told.report + 2 > report);
        self.report += 1;
        let points = self.figures.drain().map(|(peer, figures)| (peer, figures.points(peer.role)));
        points.filter(|(_, points)| !points.is_empty()).collect()
    }

    /// How many connections are remembered.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.told.len()
    }
}

impl Figures {
    fn grow(&mut self, tcp: &Tcp, told: Option<&Told>) {
        let (sent, received, retransmits) =
            told.map_or((0, 0, 0), |told| (told.sent, told.received, told.retransmits));
        self.sent += tcp.sent.saturating_sub(sent);
        self.received += tcp.received.saturating_sub(received);
        self.retransmits += u64::from(tcp.retransmits.saturating_sub(retransmits));
        if tcp.srtt_us > 0 {
            self.rtt.add(u64::from(tcp.srtt_us) * 1000);
        }
    }

    fn points(self, role: Role) -> Vec<Point> {
        let mut points = Vec::new();
        let mut add = |metric, unit, kind, error| points.push(Point { metric, unit, kind, error });
        let opened = if role == Role::Server { "tcp.accepted" } else { "tcp.connected" };
        for (metric, unit, value) in [
            (opened, "{connection}", self.opened),
            ("tcp.closed", "{connection}", self.closed),
            ("tcp.sent", "By", self.sent),
            ("tcp.received", "By", self.received),
            ("tcp.retransmits", "{segment}", self.retransmits),
            ("tcp.resets_received", "{reset}", self.resets_received),
            ("tcp.resets_sent", "{reset}", self.resets_sent),
        ] {
            if value > 0 {
                add(metric, unit, PointKind::Sum(value), None);
            }
        }
        for ((_, name), count) in FAILURES.iter().zip(self.failed) {
            if count > 0 {
                add("tcp.connect_failures", "{connection}", PointKind::Sum(count), Some(name));
            }
        }
        if self.open > 0 {
            add("tcp.open", "{connection}", PointKind::Gauge(self.open), None);
        }
        for (metric, times) in
            [("tcp.connect_time", self.connect), ("tcp.duration", self.lasted), ("tcp.rtt", self.rtt)]
        {
            if times.count > 0 {
                add(metric, "s", PointKind::Times(Box::new(times)), None);
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::event::Ends;

    fn tcp(number: u64, role: Role) -> Tcp {
        Tcp {
            id: ConnectionId { socket: number, started: 1000 },
            role,
            before: 1,
            fresh: true,
            tgid: 7,
            cgroup: 1,
            time: 5_001_000,
            established: 1_001_000,
            sent: 100,
            received: 50,
            retransmits: 1,
            srtt_us: 300,
            error: 0,
            resets_received: 0,
            resets_sent: 0,
            ends: Ends {
                local: ([10, 0, 0, 1], 40_000).into(),
                remote: ([10, 0, 0, 2], 80).into(),
                netns: 1,
            },
        }
    }

    fn sum(reported: &[(Peer, Vec<Point>)], metric: &str) -> u64 {
        let points = reported.iter().flat_map(|(_, points)| points).filter(|point| point.metric == metric);
        points
            .map(|point| match &point.kind {
                PointKind::Sum(value) | PointKind::Gauge(value) => *value,
                PointKind::Times(times) => times.count,
            })
            .sum()
    }

    #[test]
    fn what_a_connection_moved_is_told_once_though_it_is_seen_open_and_closed() {
        let mut peers = Peers::new(10, 10, false);
        peers.established(&tcp(1, Role::Client));
        peers.open(&Tcp { sent: 150, ..tcp(1, Role::Client) });
        let first = peers.report();
        assert_eq!((sum(&first, "tcp.connected"), sum(&first, "tcp.sent")), (1, 150));
        peers.open(&Tcp { sent: 160, ..tcp(1, Role::Client) });
        peers.open(&Tcp { sent: 160, ..tcp(1, Role::Client) });
        let second = peers.report();
        assert_eq!((sum(&second, "tcp.sent"), sum(&second, "tcp.open")), (10, 1));
        peers.closed(&Tcp { sent: 170, ..tcp(1, Role::Client) });
        let third = peers.report();
        assert_eq!(
            (sum(&third, "tcp.sent"), sum(&third, "tcp.closed"), sum(&third, "tcp.duration")),
            (10, 1, 1)
        );
        assert_eq!(peers.connections(), 0);
    }

    #[test]
    fn what_a_connection_moved_before_the_start_is_not_told() {
        let mut peers = Peers::new(10, 10, false);
        let late = Tcp { fresh: false, established: 0, ..tcp(1, Role::Unknown) };
        peers.open(&late);
        assert_eq!(sum(&peers.report(), "tcp.sent"), 0);
        peers.closed(&Tcp { sent: 101, ..late });
        assert_eq!(sum(&peers.report(), "tcp.sent"), 1);
    }

    #[test]
    fn connecting_that_failed_is_told_by_its_error() {
        let mut peers = Peers::new(10, 10, false);
        let failed = Tcp { before: STATE_SYN_SENT, established: 0, error: 111, ..tcp(1, Role::Client) };
        peers.closed(&failed);
        let reported = peers.report();
        let failure = reported[0].1.iter().find(|point| point.metric == "tcp.connect_failures").unwrap();
        assert_eq!((failure.error, &failure.kind), (Some("ECONNREFUSED"), &PointKind::Sum(1)));
        assert_eq!(sum(&reported, "tcp.closed"), 0);
    }

    #[test]
    fn peers_beyond_the_bound_are_one() {
        let mut peers = Peers::new(2, 100, true);
        for number in 0..10 {
            let mut one = tcp(number, Role::Client);
            one.ends.local.set_port(1000 + u16::try_from(number).unwrap());
            peers.closed(&one);
        }
        let reported = peers.report();
        assert_eq!((reported.len(), sum(&reported, "tcp.closed")), (3, 10));
        assert!(reported.iter().any(|(peer, _)| peer.address.is_none()));
    }

    #[test]
    fn connections_that_vanish_are_forgotten() {
        let mut peers = Peers::new(10, 10, false);
        peers.established(&tcp(1, Role::Client));
        for _ in 0..3 {
            peers.report();
        }
        assert_eq!(peers.connections(), 0);
    }
}
