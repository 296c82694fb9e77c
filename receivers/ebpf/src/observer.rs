//! Events in, spans and figures out. No I/O but that of [`Processes`], and no clock.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use crate::config::Config;
use crate::filter::Filter;
use crate::http::exchange::{self, Exchange, Left, Side};
use crate::http::template::{self, Templates};
use crate::http2::connection;
use crate::kernel::event::{ConnectionId, Data, Ends, Event, Role, Tcp};
use crate::process::{Identity, Processes};
use crate::rows::Span;
use crate::tcp::{Peer, Peers, Point};

/// What was seen and gave no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) sampled: u64,
    pub(crate) left: Left,
    /// Connections beyond those that are followed.
    pub(crate) connections: u64,
}

/// What a connection speaks.
enum Http {
    One(Box<exchange::Connection>),
    Two(Box<connection::Connection>),
}

/// A connection whose requests are followed.
struct Followed {
    http: Http,
    tgid: u32,
    ends: Ends,
    /// The report at which it was last seen.
    report: u64,
    last: u64,
}

impl Followed {
    fn close(&mut self, time: u64, told: &mut Vec<Exchange>) {
        match &mut self.http {
            Http::One(http) => http.close(time, told),
            Http::Two(http) => http.close(time, told),
        }
    }
}

/// All that is known from the events so far. Bounded by the settings.
pub(crate) struct Observer {
    filter: Filter,
    allow: Vec<Box<str>>,
    most_connections: usize,
    most_rows: u64,
    has_tcp: bool,
    processes: Processes,
    peers: Peers,
    followed: HashMap<ConnectionId, Followed>,
    listening: HashSet<(u32, u16)>,
    templates: Templates,
    told: Vec<Exchange>,
    spans: Vec<Span>,
    denied: Vec<u32>,
    seen: Seen,
    report: u64,
    /// Of so many requests one has a row.
    one_in: u32,
    /// Requests since the second began.
    this_second: u64,
    numbers: u64,
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl Observer {
    /// `seed` is of the ids of spans.
    pub(crate) fn new(config: &Config, seed: u64) -> Observer {
        let most = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let connections = most(config.max_connections);
        Observer {
            filter: config.filter(),
            allow: config.allowed_headers(),
            most_connections: connections,
            most_rows: config.http.max_rows_per_second.into(),
            has_tcp: config.tcp.enabled,
            processes: Processes::new(most(config.max_processes)),
            peers: Peers::new(most(config.tcp.max_peers), connections, config.tcp.each_connection),
            followed: HashMap::new(),
            listening: HashSet::new(),
            templates: Templates::new(config.http.templates.clone(), most(config.http.max_templates)),
            told: Vec::new(),
            spans: Vec::new(),
            denied: Vec::new(),
            seen: Seen::default(),
            report: 1,
            one_in: 1,
            this_second: 0,
            numbers: seed,
            hasher: BuildHasherDefault::default(),
        }
    }

    /// Takes an event of the ring.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(data) => self.data(data),
            Event::Closed(tcp) => {
                if let Some(mut followed) = self.followed.remove(&tcp.id) {
                    followed.close(tcp.time, &mut self.told);
                    self.tell(&followed, tcp.id);
                }
                let tcp = self.with_role(tcp);
                if self.has_tcp && self.is_wanted(tcp.tgid, tcp.cgroup) {
                    self.peers.closed(&tcp);
                }
            }
            Event::Established(tcp) => {
                let tcp = self.with_role(tcp);
                if self.has_tcp && self.is_wanted(tcp.tgid, tcp.cgroup) {
                    self.peers.established(&tcp);
                }
            }
            Event::Process(process) => {
                let identity = self.processes.seen(process.tgid, process.cgroup, &process.comm);
                if !self.takes(&identity) {
                    self.denied.push(process.tgid);
                }
            }
            Event::Exit { tgid, time } => self.processes.ended(*tgid, *time),
            Event::Open(_) | Event::Listens(_) => {}
        }
    }

    /// Takes the list of all open sockets, which ends a report: the figures since the last one.
    pub(crate) fn sockets<'a>(
        &mut self,
        sockets: impl Iterator<Item = Event<'a>> + Clone,
    ) -> Vec<(Arc<Identity>, Peer, Vec<Point>)> {
        self.listening.clear();
        for event in sockets.clone() {
            if let Event::Listens(tcp) = event {
                self.listening.insert((tcp.ends.netns, tcp.ends.local.port()));
            }
        }
        for event in sockets {
            let Event::Open(tcp) = event else { continue };
            if let Some(followed) = self.followed.get_mut(&tcp.id) {
                followed.report = self.report;
            }
            let tcp = self.with_role(&tcp);
            if self.has_tcp && self.is_wanted(tcp.tgid, tcp.cgroup) {
                self.peers.open(&tcp);
            }
        }
        // Connections whose end was not told.
        let report = self.report;
        let lost = self.followed.iter().filter(|(_, followed)| followed.report + 2 <= report);
        let lost: Vec<ConnectionId> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            if let Some(mut followed) = self.followed.remove(&id) {
                let last = followed.last;
                followed.close(last, &mut self.told);
                self.tell(&followed, id);
            }
        }
        self.report += 1;
        let reported = self.peers.report();
        reported
            .into_iter()
            .map(|(peer, points)| (self.processes.of(peer.tgid, peer.cgroup), peer, points))
            .collect()
    }

    /// A second is over; `now` is of the kernel's clock.
    pub(crate) fn second(&mut self, now: u64) {
        self.processes.forget(now);
        let wanted = self.this_second.div_ceil(self.most_rows.max(1));
        self.one_in = match self.most_rows {
            0 => 1,
            _ => u32::try_from(wanted.next_power_of_two()).unwrap_or(u32::MAX),
        };
        self.this_second = 0;
    }

    /// The spans so far.
    pub(crate) fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// How many spans wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.spans.len()
    }

    /// Processes that the kernel need not look at.
    pub(crate) fn take_denied(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.denied)
    }

    /// What was seen since the last call.
    pub(crate) fn take_seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    /// Connections that are followed, and processes that are known.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.followed.len(), self.processes.len())
    }

    fn data(&mut self, data: &Data<'_>) {
        if !self.followed.contains_key(&data.id) && self.followed.len() >= self.most_connections {
            self.seen.connections += 1;
            return;
        }
        let (report, tgid, ends) = (self.report, data.tgid, data.ends);
        let followed = self.followed.entry(data.id).or_insert_with(|| Followed {
            http: if data.is_http2 {
                Http::Two(Box::new(connection::Connection::new(data.direction)))
            } else {
                Http::One(Box::default())
            },
            tgid,
            ends,
            report,
            last: 0,
        });
        (followed.report, followed.last, followed.tgid) = (report, data.time, tgid);
        let piece = (data.position, data.total, data.bytes);
        let left = match &mut followed.http {
            Http::One(http) if http.is_other() => return,
            Http::One(http) => {
                http.add(data.direction, piece, data.time, &self.allow, &mut self.told);
                http.take_left()
            }
            Http::Two(http) => {
                http.add(data.direction, piece, data.time, &self.allow, &mut self.told);
                http.take_left()
            }
        };
        self.seen.left.responses += left.responses;
        self.seen.left.requests += left.requests;
        self.seen.left.connections += left.connections;
        if !self.told.is_empty() {
            self.tell_of(tgid, ends, data.id);
        }
    }

    fn tell(&mut self, followed: &Followed, id: ConnectionId) {
        self.tell_of(followed.tgid, followed.ends, id);
    }

    fn tell_of(&mut self, tgid: u32, ends: Ends, id: ConnectionId) {
        for exchange in std::mem::take(&mut self.told) {
            self.span(exchange, tgid, ends, id);
        }
    }

    fn span(&mut self, exchange: Exchange, tgid: u32, ends: Ends, id: ConnectionId) {
        let caller = exchange.context.as_ref().and_then(|context| context.caller.as_ref());
        if let (Side::Client, Some((service, instance))) = (exchange.side, caller) {
            self.processes.told_its_name(tgid, service, instance);
        }
        let process = self.processes.of(tgid, 0);
        if !self.takes(&process) || !self.filter.paths.takes(template::path(&exchange.target)) {
            return;
        }
        self.seen.requests += 1;
        self.this_second += 1;
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.hasher.hash_one((id, self.numbers));
        // All rows of a trace are kept, or none.
        let chosen =
            exchange.context.as_ref().map_or(number, |context| self.hasher.hash_one(&context.trace_id));
        if !chosen.is_multiple_of(self.one_in.into()) {
            self.seen.sampled += 1;
            return;
        }
        // The methods of gRPC are few.
        let route = match exchange.rpc {
            Some(_) => exchange.target.to_string(),
            None => self.templates.of(&exchange.target),
        };
        let one_in = self.one_in;
        self.spans.push(Span { exchange, process, ends, route, span_id: number.max(1), one_in });
    }

    fn takes(&self, process: &Identity) -> bool {
        self.filter.processes.takes(&process.name)
            && self.filter.containers.takes(process.container.as_deref().unwrap_or_default())
    }

    fn is_wanted(&mut self, tgid: u32, cgroup: u64) -> bool {
        let process = self.processes.of(tgid, cgroup);
        self.takes(&process)
    }

    /// A connection of before the start belongs to the side that listens.
    fn with_role(&self, tcp: &Tcp) -> Tcp {
        let listens = || self.listening.contains(&(tcp.ends.netns, tcp.ends.local.port()));
        let role = match tcp.role {
            Role::Unknown if listens() => Role::Server,
            Role::Unknown => Role::Client,
            known => known,
        };
        Tcp { role, ..*tcp }
    }
}
