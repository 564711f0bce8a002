//! Where a file is cut: the rolling hash of `rustic_core`, in the place of the crate of that name.
//!
//! `rustic_core` makes a hash for each file, also for one that is too small to be cut, and the published crate reckons
//! its tables anew each time: 16,128 divisions of polynomials, most of the time that a small file takes. The tables are
//! linear: what is XORed in goes in comes out XORed, so that those of the eight bits are enough (a thirtieth of it). What it
//! answers is the same bit for bit, or a repository would store again what it has; `tests/published.rs` compares both.

/// A polynomial over GF(2): bit `n` is the coefficient of `x^n`.
pub type Polynom64 = u64;

/// What `rustic_core` asks of a polynomial.
pub trait Polynom {
    /// The highest power in it; -1 of zero.
    fn degree(&self) -> i32;

    /// The remainder of a division by `divisor`, which is not zero.
    #[must_use]
    fn modulo(&self, divisor: &Self) -> Self;
}

impl Polynom for Polynom64 {
    fn degree(&self) -> i32 {
        // At most 63.
        63 - self.leading_zeros().cast_signed()
    }

    fn modulo(&self, divisor: &Self) -> Self {
        let mut rest = *self;
        while let Some(shift) = divisor.leading_zeros().checked_sub(rest.leading_zeros()) {
            rest ^= divisor << shift;
        }
        rest
    }
}

/// A hash over the last bytes that went through it.
pub trait RollingHash64 {
    /// As it was when it was made.
    fn reset(&mut self);

    /// Lets bytes in until one is missing for a full window; how many those were.
    fn prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;

    /// Both in one. The bytes that are missing for a window count as zeros only if it is filled.
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;

    /// Lets a byte in, and the oldest out.
    fn slide(&mut self, byte: u8);

    /// The hash of what is in the window.
    fn get_hash(&self) -> &Polynom64;
}

/// Rabin's fingerprint of a window: its bytes as a polynomial, modulo an irreducible one.
#[derive(Clone, Debug)]
pub struct Rabin64 {
    /// How far the byte at the top of a hash is shifted.
    top: u32,
    /// What a byte has become when the window has passed it, to take it out.
    leaving: [Polynom64; 256],
    /// What brings a hash back below the divisor, by its top byte.
    reducing: [Polynom64; 256],
    window: Vec<u8>,
    /// Of the oldest byte in the window.
    oldest: usize,
    /// The hash of what is in the window.
    pub hash: Polynom64,
}

impl Rabin64 {
    /// A hash of `2^window_bits` bytes with a divisor of a degree from 8 to 55.
    ///
    /// # Panics
    /// For another degree: such a divisor leaves no room for a byte.
    #[must_use]
    pub fn new_with_polynom(window_bits: u32, divisor: &Polynom64) -> Self {
        let degree = u32::try_from(divisor.degree()).ok().filter(|degree| (8..=55).contains(degree));
        let Some(degree) = degree else { panic!("a divisor of degree {} can't be used", divisor.degree()) };
        let size = 1 << window_bits;
        Self {
            top: degree - 8,
            leaving: linear(|bit| (1..size).fold(bit.modulo(divisor), |hash, _| (hash << 8).modulo(divisor))),
            reducing: linear(|bit| {
                let high = bit << degree;
                high | high.modulo(divisor)
            }),
            window: vec![0; size],
            oldest: 0,
            hash: 0,
        }
    }

    fn append(&mut self, byte: u8) {
        self.window[self.oldest] = byte;
        // A power of two.
        self.oldest = (self.oldest + 1) & (self.window.len() - 1);
        let high = (self.hash >> self.top) & 0xff;
        self.hash = ((self.hash << 8) | Polynom64::from(byte)) ^ self.reducing[high as usize];
    }
}

/// The table of a linear function of a byte, from what it makes of each bit.
fn linear(of_bit: impl Fn(Polynom64) -> Polynom64) -> [Polynom64; 256] {
    let mut table = [0; 256];
    for bit in 0..8 {
        let (known, rest) = table.split_at_mut(1 << bit);
        let new = of_bit(1 << bit);
        for (entry, without) in rest.iter_mut().zip(known) {
            *entry = *without ^ new;
        }
    }
    table
}

impl RollingHash64 for Rabin64 {
    fn reset(&mut self) {
        self.window.fill(0);
        self.oldest = 0;
        self.hash = 0;
    }

    fn prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        let room = self.window.len() - 1;
        bytes.take(room).map(|byte| self.slide(byte)).count()
    }

    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        self.hash = 0;
        let room = self.window.len() - 1;
        let filled = bytes.take(room).map(|byte| self.append(byte)).count();
        self.window[self.oldest] = 0;
        filled
    }

    #[inline]
    fn slide(&mut self, byte: u8) {
        self.hash ^= self.leaving[usize::from(self.window[self.oldest])];
        self.append(byte);
    }

    #[inline]
    fn get_hash(&self) -> &Polynom64 {
        &self.hash
    }
}
