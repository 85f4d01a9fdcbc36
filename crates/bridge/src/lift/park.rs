//! The calls that wait for their client's next request.
//!
//! A parked call is a promise to two sides: the server's request stays open, and the client may come back once. So each
//! has a name that cannot be guessed, an owner, an end, and can be taken exactly once; a name that finds nothing is told so
//! and never leads to a second call. How many may wait is limited for each caller and for the server, because each holds a
//! session or a process.
//!
//! Time and randomness are arguments, and so is what is kept: `C` says whose call it is, `T` is the driver's own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What parked calls are bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkLimits {
    /// Calls of one caller that may wait.
    pub per_caller_max: usize,
    /// Calls of all callers that may wait.
    pub per_server_max: usize,
    /// Requests that one call may take: one less of them may end in a question.
    pub rounds_max: u32,
    /// How long a call waits.
    pub life: Duration,
}

/// The parked calls of one server.
#[derive(Debug)]
pub struct Parking<C, T> {
    owner: u64,
    limits: ParkLimits,
    rows: BTreeMap<u128, Row<C, T>>,
}

#[derive(Debug)]
struct Row<C, T> {
    caller: C,
    round: u32,
    until: Instant,
    parked: T,
}

/// Where a call waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// By which it is found again.
    pub state: Box<str>,
    /// The same, for [`Parking::remove`].
    pub nonce: u128,
    /// When it is given up.
    pub until: Instant,
}

/// A call that was found. It waits no longer, unless it is put back.
#[derive(Debug)]
pub struct Taken<C, T> {
    /// What was kept.
    pub parked: T,
    /// The round that begins now, from 2.
    pub round: u32,
    caller: C,
    nonce: u128,
    until: Instant,
}

/// Why a call cannot be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Its caller has as many parked calls as one may have.
    Caller,
    /// The server has as many as it may have.
    Server,
    /// It has taken as many rounds as one may.
    Rounds,
}

/// Why a call is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// No call of this caller waits under that name: it has been gone on with, has been given up, or never was.
    Unknown,
    /// It waited in another process.
    Elsewhere,
    /// It has waited too long.
    Expired,
}

impl<C: PartialEq, T> Parking<C, T> {
    /// Nothing is parked. `owner` tells this process from every other.
    pub fn new(owner: u64, limits: ParkLimits) -> Self {
        Self {
            owner,
            limits,
            rows: BTreeMap::new(),
        }
    }

    /// Whether a call of `caller` that is in its `round` may be parked.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn room(&self, caller: &C, round: u32) -> Result<(), Full> {
        if round >= self.limits.rounds_max {
            return Err(Full::Rounds);
        }
        if self.of(caller) >= self.limits.per_caller_max {
            return Err(Full::Caller);
        }
        if self.rows.len() >= self.limits.per_server_max {
            return Err(Full::Server);
        }
        Ok(())
    }

    /// Parks a call that is in its `round`, from 1.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn park(&mut self, caller: C, round: u32, parked: T, now: Instant, entropy: u128) -> Result<Place, Full> {
        self.room(&caller, round)?;
        let mut nonce = entropy;
        while self.rows.contains_key(&nonce) {
            nonce = nonce.wrapping_add(1);
        }
        let until = now.checked_add(self.limits.life).unwrap_or(now);
        let row = Row {
            caller,
            round,
            until,
            parked,
        };
        self.rows.insert(nonce, row);
        Ok(Place {
            state: format!("{:016x}.{nonce:032x}", self.owner).into(),
            nonce,
            until,
        })
    }

    /// Takes a call that waits under `state`. Nobody finds it a second time.
    ///
    /// # Errors
    /// When no call of `caller` waits there.
    pub fn take(&mut self, state: &str, caller: &C, now: Instant) -> Result<Taken<C, T>, Gone> {
        let (owner, nonce) = read(state).ok_or(Gone::Unknown)?;
        if owner != self.owner {
            return Err(Gone::Elsewhere);
        }
        let row = self.rows.get(&nonce).filter(|row| row.caller == *caller);
        if row.ok_or(Gone::Unknown)?.until <= now {
            // Its end is for whoever waits with it.
            return Err(Gone::Expired);
        }
        let row = self.rows.remove(&nonce).ok_or(Gone::Unknown)?;
        Ok(Taken {
            parked: row.parked,
            round: row.round + 1,
            caller: row.caller,
            nonce,
            until: row.until,
        })
    }

    /// Puts a call back where it was, because what its client said was no answer. Its end stays the same.
    pub fn put_back(&mut self, taken: Taken<C, T>) -> Place {
        let place = Place {
            state: format!("{:016x}.{:032x}", self.owner, taken.nonce).into(),
            nonce: taken.nonce,
            until: taken.until,
        };
        let row = Row {
            caller: taken.caller,
            round: taken.round.saturating_sub(1),
            until: taken.until,
            parked: taken.parked,
        };
        self.rows.insert(taken.nonce, row);
        place
    }

    /// The call will not be gone on with; `None` when somebody has taken it.
    pub fn remove(&mut self, nonce: u128) -> Option<T> {
        self.rows.remove(&nonce).map(|row| row.parked)
    }

    /// Takes out every call whose end has come.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let over = |row: &Row<C, T>| row.until <= now;
        let due: Vec<u128> = self
            .rows
            .iter()
            .filter(|(_, row)| over(row))
            .map(|(nonce, _)| *nonce)
            .collect();
        due.into_iter().filter_map(|nonce| self.remove(nonce)).collect()
    }

    /// Takes out the calls of callers that are not kept: nobody will go on with those.
    pub fn keep_only(&mut self, keep: impl Fn(&C) -> bool) -> Vec<T> {
        let (kept, gone) = std::mem::take(&mut self.rows)
            .into_iter()
            .partition(|(_, row)| keep(&row.caller));
        self.rows = kept;
        gone.into_values().map(|row: Row<C, T>| row.parked).collect()
    }

    /// Takes out every call: nothing will be gone on with.
    pub fn drain(&mut self) -> Vec<T> {
        let rows = std::mem::take(&mut self.rows);
        rows.into_values().map(|row| row.parked).collect()
    }

    /// Calls that wait.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Calls of one caller that wait.
    pub fn of(&self, caller: &C) -> usize {
        self.rows.values().filter(|row| row.caller == *caller).count()
    }
}

impl<C, T> Taken<C, T> {
    /// The same call with something else kept of it.
    pub fn map<U>(self, parked: U) -> (Taken<C, U>, T) {
        let taken = Taken {
            parked,
            round: self.round,
            caller: self.caller,
            nonce: self.nonce,
            until: self.until,
        };
        (taken, self.parked)
    }
}

/// The owner and the nonce of a state, in the one spelling that this makes.
fn read(state: &str) -> Option<(u64, u128)> {
    let (owner, nonce) = state.split_once('.')?;
    let plain = |digits: &str, count| {
        digits.len() == count && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !plain(owner, 16) || !plain(nonce, 32) {
        return None;
    }
    Some((
        u64::from_str_radix(owner, 16).ok()?,
        u128::from_str_radix(nonce, 16).ok()?,
    ))
}
