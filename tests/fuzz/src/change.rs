//! Changes to an input, and the numbers that choose them.

/// Random numbers (splitmix64): one number gives all that follow, on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

/// Bytes that mean something: lengths and tags of protobuf, ends of ranges, brackets and quotes.
const BYTES: [u8; 20] = [
    0, 1, 0x08, 0x0a, 0x12, 0x1a, 0x22, 0x2a, 0x62, 0x7f, 0x80, 0xff, b'{', b'}', b'[', b'"', b'\'', b':',
    b'\n', b'-',
];

/// Changes an input once.
pub fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[&str], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let (from, to) = range(bytes.len(), random);
    match random.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = BYTES[random.below(BYTES.len())];
            }
        }
        2 => {
            let more: Vec<u8> = (0..=random.below(4)).map(|_| BYTES[random.below(BYTES.len())]).collect();
            bytes.splice(at..at, more);
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(from..to)),
        5 => {
            // The same again, up to 64 times: nested and repeated parts.
            let part = bytes[from..to].repeat(1 << random.below(7));
            bytes.splice(at..at, part.into_iter().take(8 << 10));
        }
        6 => {
            let other = &seeds[random.below(seeds.len())];
            let (from, to) = range(other.len(), random);
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        7 if !tokens.is_empty() => {
            let token = tokens[random.below(tokens.len())];
            bytes.splice(from..to.min(from + random.below(12)), token.bytes());
        }
        _ => {
            // A length or number in the place of another one.
            let number = [0, 1, 127, 128, 1 << 14, (1 << 31) - 1, 1 << 31, u64::MAX][random.below(8)];
            bytes.splice(at..(at + 1).min(bytes.len()), varint(number));
        }
    }
}

fn range(length: usize, random: &mut Random) -> (usize, usize) {
    let (one, other) = (random.below(length + 1), random.below(length + 1));
    (one.min(other), one.max(other))
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
    bytes
}
