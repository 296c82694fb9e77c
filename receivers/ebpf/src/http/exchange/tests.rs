use super::*;
use proptest::prelude::*;

/// Path, status, began, answered, ended.
type Told<'a> = (&'a str, Option<u16>, u64, Option<u64>, u64);

/// A connection of a server, with the positions of both streams.
#[derive(Default)]
struct Server {
    connection: Connection,
    at: [u32; 2],
    told: Vec<Exchange>,
}

impl Server {
    fn reads(&mut self, time: u64, text: &str) {
        self.add(Direction::In, time, text.as_bytes(), text.len());
    }

    fn writes(&mut self, time: u64, text: &str) {
        self.add(Direction::Out, time, text.as_bytes(), text.len());
    }

    fn add(&mut self, direction: Direction, time: u64, bytes: &[u8], total: usize) {
        let total = u32::try_from(total).unwrap();
        let at = &mut self.at[usize::from(direction == Direction::Out)];
        let position = *at;
        *at = at.wrapping_add(total);
        self.connection.add(direction, (position, total, bytes), time, &[], &mut self.told);
    }

    fn told(&self) -> Vec<Told<'_>> {
        let told = self.told.iter();
        told.map(|told| (&*told.target, told.status, told.began, told.answered, told.ended)).collect()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_and_its_response_are_an_exchange() {
    let mut server = Server::default();
    server.reads(10, "POST /pay HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
    server.reads(15, "cd");
    server.writes(30, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n");
    assert!(server.told.is_empty(), "the body is missing");
    server.writes(40, "sorry");
    assert_eq!(server.told(), [("/pay", Some(404), 10, Some(30), 40)]);
    let told = &server.told[0];
    assert_eq!((told.side, told.method, told.partial), (Side::Server, "POST", false));
    assert_eq!((told.request_bytes, told.response_bytes), (45, 50));
}

#[test]
fn requests_that_follow_each_other_at_once_are_paired_by_their_order() {
    let mut server = Server::default();
    server.reads(1, &[get("/a"), get("/b"), get("/c")].concat());
    server.writes(2, &[OK, OK].concat());
    server.writes(3, OK);
    let paths: Vec<&str> = server.told.iter().map(|told| &*told.target).collect();
    assert_eq!(paths, ["/a", "/b", "/c"]);
    assert_eq!(server.told[2].ended, 3);
}

#[test]
fn a_response_without_a_length_ends_with_the_connection_or_the_next_request() {
    let mut server = Server::default();
    server.reads(1, &get("/a"));
    server.writes(2, "HTTP/1.0 200 OK\r\n\r\nbody");
    server.writes(5, "more");
    server.connection.close(9, &mut server.told);
    assert_eq!(server.told(), [("/a", Some(200), 1, Some(2), 5)]);
}

#[test]
fn the_head_of_a_response_that_was_cut_off_is_partial() {
    let mut server = Server::default();
    server.reads(1, &get("/a"));
    server.add(Direction::Out, 2, b"HTTP/1.1 200 OK\r\nX: y\r\n", 9000);
    server.add(Direction::Out, 3, b"", 500);
    server.reads(10, &get("/b"));
    server.writes(11, OK);
    assert_eq!(server.told(), [("/a", Some(200), 1, Some(2), 3), ("/b", Some(200), 10, Some(11), 11)]);
    assert_eq!((server.told[0].partial, server.told[0].response_bytes), (true, 9500));
}

#[test]
fn a_response_that_was_not_seen_shifts_no_later_one() {
    let mut server = Server::default();
    server.reads(0, &get("/first"));
    server.writes(0, OK);
    server.told.clear();
    server.reads(1, &get("/a"));
    // The kernel could not tell of it.
    server.at[1] += 500;
    server.reads(2, &get("/b"));
    server.writes(3, OK);
    server.reads(4, &get("/c"));
    server.writes(5, &OK.replace("200 OK", "404 Not Found"));
    server.reads(6, &get("/d"));
    server.writes(7, OK);
    assert_eq!(server.told(), [("/c", Some(404), 4, Some(5), 5), ("/d", Some(200), 6, Some(7), 7)]);
    let left = server.connection.take_left();
    assert_eq!((left.requests, left.responses), (2, 1));
}

#[test]
fn requests_beyond_those_that_may_wait_shift_no_response() {
    let mut server = Server::default();
    for at in 0..300 {
        server.reads(at, &get(&format!("/{at}")));
    }
    for at in 300..600 {
        server.writes(at, OK);
    }
    assert_eq!(server.told(), []);
    server.reads(700, &get("/a"));
    server.writes(701, OK);
    assert_eq!(server.told(), [("/a", Some(200), 700, Some(701), 701)]);
    let left = server.connection.take_left();
    assert_eq!((left.requests, left.responses), (300, 300));
}

#[test]
fn an_interim_response_is_no_answer() {
    let mut server = Server::default();
    server.reads(1, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    server.writes(2, "HTTP/1.1 100 Continue\r\n\r\n");
    server.reads(3, "hi");
    server.writes(4, OK);
    assert_eq!(server.told(), [("/a", Some(200), 1, Some(4), 4)]);
}

#[test]
fn a_response_to_head_has_no_body() {
    let mut server = Server::default();
    server.reads(1, "HEAD /a HTTP/1.1\r\n\r\n");
    server.writes(2, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    server.reads(3, &get("/b"));
    server.writes(4, OK);
    assert_eq!(server.told.len(), 2);
}

#[test]
fn after_an_upgrade_nothing_is_told() {
    let mut server = Server::default();
    server.reads(1, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    server.writes(2, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    server.reads(3, &get("/no"));
    server.writes(4, OK);
    server.connection.close(5, &mut server.told);
    assert_eq!(server.told()[0], ("/ws", Some(101), 1, Some(2), 2));
    assert!(server.connection.is_other());
}

#[test]
fn a_response_without_its_request_is_counted_and_the_next_one_is_right() {
    let mut server = Server::default();
    server.writes(1, OK);
    server.reads(2, &get("/a"));
    server.writes(3, OK);
    assert_eq!(server.told(), [("/a", Some(200), 2, Some(3), 3)]);
    assert_eq!(server.connection.take_left(), Left { responses: 1, ..Left::default() });
}

#[test]
fn a_request_that_gets_no_answer_is_told_when_the_connection_is_closed() {
    let mut server = Server::default();
    server.reads(1, &get("/a"));
    server.connection.close(7, &mut server.told);
    assert_eq!(server.told(), [("/a", None, 1, None, 7)]);
}

#[test]
fn a_client_writes_its_requests() {
    let mut server = Server::default();
    server.writes(1, &get("/a"));
    server.reads(2, OK);
    assert_eq!((server.told[0].side, server.told[0].status), (Side::Client, Some(200)));
}

proptest! {
    #[test]
    fn nothing_breaks_a_connection_and_no_exchange_is_told_twice(pieces in proptest::collection::vec(
        (any::<bool>(), 0_u32..3000, proptest::sample::select(vec![
            get("/a"), OK.to_owned(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "3\r\nabc\r\n".to_owned(), "0\r\n\r\n".to_owned(), "HTTP/1.1 100 C\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\n\r\n".to_owned(), String::new(), "noise".to_owned(),
        ])), 0..40)) {
        let mut server = Server::default();
        let requests = pieces.iter().filter(|(_, _, text)| text.starts_with("GET")).count();
        for (time, (is_in, unseen, text)) in pieces.iter().enumerate() {
            let direction = if *is_in { Direction::In } else { Direction::Out };
            let unseen = if *unseen > 1500 { 0 } else { *unseen };
            server.add(direction, time as u64, text.as_bytes(), text.len() + unseen as usize);
        }
        server.connection.close(99, &mut server.told);
        prop_assert!(server.told.len() <= requests, "{:?}", server.told);
        prop_assert!(server.told.iter().all(|told| told.began <= told.ended));
    }
}
