//! Decompressing headers (RFC 7541).

use std::collections::VecDeque;
use std::sync::LazyLock;

use super::tables::{HUFFMAN, STATIC};

/// The largest table that is followed, in bytes as the RFC counts them.
const MOST_TABLE: usize = 1 << 20;
/// The longest text.
const MOST_TEXT: usize = 64 << 10;
/// What an entry of the table counts beside its texts.
const ENTRY: usize = 32;

/// The bytes are no headers, or beyond what is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The name and the value of a header.
pub(crate) type Header = (Box<[u8]>, Box<[u8]>);

/// The state of one direction.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: VecDeque<Header>,
    size: usize,
    most: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { table: VecDeque::new(), size: 0, most: 4096 }
    }
}

impl Decoder {
    /// Gives each header of a block, in order.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        mut header: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Unreadable> {
        let mut input = Input(block);
        while let Some(first) = input.0.first().copied() {
            if first & 0x80 != 0 {
                let (name, value) = self.entry(input.integer(7)?)?;
                header(name, value);
                continue;
            }
            if first & 0xe0 == 0x20 {
                let most = input.integer(5)?;
                if most > MOST_TABLE {
                    return Err(Unreadable);
                }
                self.most = most;
                self.shrink(0);
                continue;
            }
            let is_kept = first & 0xc0 == 0x40;
            let index = input.integer(if is_kept { 6 } else { 4 })?;
            let name = if index == 0 { input.text()? } else { self.entry(index)?.0.into() };
            let value = input.text()?;
            header(&name, &value);
            if is_kept {
                self.keep(name, value);
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Unreadable> {
        let index = index.checked_sub(1).ok_or(Unreadable)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let own = self.table.get(index - STATIC.len());
        own.map(|(name, value)| (&**name, &**value)).ok_or(Unreadable)
    }

    fn keep(&mut self, name: Box<[u8]>, value: Box<[u8]>) {
        let size = name.len() + value.len() + ENTRY;
        self.shrink(size);
        if size <= self.most {
            self.size += size;
            self.table.push_front((name, value));
        }
    }

    /// Makes room for so many bytes.
    fn shrink(&mut self, room: usize) {
        while self.size + room > self.most
            && let Some((name, value)) = self.table.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn integer(&mut self, prefix: u32) -> Result<usize, Unreadable> {
        let most = (1_usize << prefix) - 1;
        let first = usize::from(self.take(1)?[0]) & most;
        if first < most {
            return Ok(first);
        }
        let mut value = most;
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.take(1)?[0]);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn text(&mut self) -> Result<Box<[u8]>, Unreadable> {
        let is_coded = self.0.first().is_some_and(|byte| byte & 0x80 != 0);
        let len = self.integer(7)?;
        let bytes = self.take(len)?;
        if len > MOST_TEXT {
            return Err(Unreadable);
        }
        if is_coded { uncoded(bytes) } else { Ok(bytes.into()) }
    }
}

/// A node has the next node for each bit, or, from [`LEAF`] on, a byte.
const LEAF: u16 = 1 << 12;

static TREE: LazyLock<Vec<[u16; 2]>> = LazyLock::new(|| {
    let mut tree = vec![[0_u16; 2]];
    for (byte, (code, bits)) in HUFFMAN.iter().enumerate() {
        let mut at = 0_usize;
        for bit in (0..*bits).rev() {
            let side = usize::from(code >> bit & 1 == 1);
            if bit == 0 {
                tree[at][side] = LEAF + u16::try_from(byte).unwrap_or_default();
                break;
            }
            if tree[at][side] == 0 {
                tree[at][side] = u16::try_from(tree.len()).unwrap_or_default();
                tree.push([0; 2]);
            }
            at = usize::from(tree[at][side]);
        }
    }
    tree
});

fn uncoded(bytes: &[u8]) -> Result<Box<[u8]>, Unreadable> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut at, mut since, mut ones) = (0_usize, 0, true);
    for byte in bytes {
        for bit in (0..8).rev() {
            let side = usize::from(byte >> bit & 1 == 1);
            since += 1;
            ones &= side == 1;
            match TREE[at][side] {
                0 => return Err(Unreadable),
                leaf if leaf >= LEAF => {
                    text.push(u8::try_from(leaf - LEAF).map_err(|_| Unreadable)?);
                    (at, since, ones) = (0, 0, true);
                }
                next => at = usize::from(next),
            }
        }
    }
    // What is left is the beginning of the end of a text: at most seven ones.
    if since > 7 || !ones { Err(Unreadable) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<u8> = hexadecimal.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn decoded(decoder: &mut Decoder, block: &str) -> Vec<String> {
        let mut headers = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder
            .decode(&bytes(block), |name, value| headers.push(format!("{}: {}", text(name), text(value))))
            .unwrap();
        headers
    }

    /// The examples of the RFC, C.4 and C.6: with the code of Huffman, and a table of 256 bytes.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut requests = Decoder::default();
        assert_eq!(
            decoded(&mut requests, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"),
            [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"]
        );
        assert_eq!(
            decoded(&mut requests, "8286 84be 5886 a8eb 1064 9cbf"),
            [
                ":method: GET",
                ":scheme: http",
                ":path: /",
                ":authority: www.example.com",
                "cache-control: no-cache"
            ]
        );
        assert_eq!(
            decoded(&mut requests, "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"),
            [
                ":method: GET",
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value"
            ]
        );
        assert_eq!(requests.size, 164);
        let mut responses = Decoder { most: 256, ..Decoder::default() };
        decoded(
            &mut responses,
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        );
        assert_eq!(decoded(&mut responses, "4883 640e ffc1 c0bf")[0], ":status: 307");
        assert_eq!(responses.size, 222, "the oldest entry made room");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for block in ["80", "ff 80 80 80 80 01", "c0 ff", "00 85 00", "3f ff ff ff 7f", "40 81 00 00"] {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.decode(&bytes(block), |_, _| ()), Err(Unreadable), "{block}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_decoder(blocks in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..200), 0..10)) {
            let mut decoder = Decoder::default();
            for block in blocks {
                let _ = decoder.decode(&block, |_, _| ());
                prop_assert!(decoder.size <= decoder.most);
            }
        }
    }
}
