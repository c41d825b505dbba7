//! All connections, and the choice of one to close if there are too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::activity::Activity;

/// Largest number of open connections.
const MAX_CONNECTIONS: usize = 1024;
/// Further connections, which may only send `/ping`.
const PING_CONNECTIONS: usize = 32;

/// All connections.
pub(super) struct Table {
    connections: Mutex<Connections>,
    max: usize,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    place: Place,
    activity: Arc<Activity>,
    is_closing: bool,
}

/// The rights of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It may send any request.
    Full,
    /// It may send one `/ping`.
    PingOnly,
}

/// The entry of a connection. Dropping it frees the place.
pub(super) struct Seat {
    table: Arc<Table>,
    number: u64,
}

impl Table {
    pub(super) fn new() -> Self {
        Self::with_max(MAX_CONNECTIONS.min(files_for_connections()))
    }

    fn with_max(max: usize) -> Self {
        Self { connections: Mutex::default(), max }
    }

    /// Gives a new connection a place, if need be by closing the one that has been idle for
    /// longest. `None` if all are busy.
    pub(super) fn admit(self: &Arc<Self>, activity: Arc<Activity>) -> Option<(Place, Seat)> {
        let mut connections = self.lock();
        let place = if connections.has_room(Place::Full, self.max) {
            Place::Full
        } else if connections.has_room(Place::PingOnly, PING_CONNECTIONS) {
            Place::PingOnly
        } else {
            return None;
        };
        let number = connections.next;
        connections.next += 1;
        let open = Open { place, activity, is_closing: false };
        connections.open.insert(number, open);
        let table = self.clone();
        Some((place, Seat { table, number }))
    }

    /// Closes the connection that has been without a request for longest.
    pub(super) fn close_idlest(&self) {
        self.lock().close_idlest(Place::Full);
    }

    /// Closes every connection without a request.
    pub(super) fn close_all_idle(&self) {
        while self.lock().close_idlest(Place::Full) {}
        while self.lock().close_idlest(Place::PingOnly) {}
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Whether there is a free place, if need be after closing an idle connection.
    fn has_room(&mut self, place: Place, max: usize) -> bool {
        let staying = self.staying(place).count();
        staying < max || self.close_idlest(place)
    }

    fn staying(&mut self, place: Place) -> impl Iterator<Item = &mut Open> {
        let open = self.open.values_mut();
        open.filter(move |open| open.place == place && !open.is_closing)
    }

    /// Closes the connection that has been idle for longest. Returns whether there was one.
    fn close_idlest(&mut self, place: Place) -> bool {
        let idle = self.staying(place).filter_map(|open| Some((open.activity.idle_since()?, open)));
        match idle.min_by_key(|(since, _)| *since) {
            None => false,
            Some((_, open)) => {
                open.is_closing = true;
                open.activity.close();
                true
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.lock().open.remove(&self.number);
    }
}

/// Number of connections for which the process has file descriptors.
#[cfg(unix)]
fn files_for_connections() -> usize {
    use rustix::process::{Resource, getrlimit};

    /// File descriptors of the process that are not connections.
    const OTHER_FILES: u64 = 96;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = files.saturating_sub(OTHER_FILES + PING_CONNECTIONS as u64);
    usize::try_from(files).unwrap_or(usize::MAX).max(1)
}

#[cfg(not(unix))]
fn files_for_connections() -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use hyper::Version;

    use super::*;

    #[test]
    fn the_idlest_leaves_and_ping_finds_room() {
        let table = Arc::new(Table::with_max(2));
        let enter = || {
            let activity = Arc::new(Activity::default());
            (activity.clone(), table.admit(activity))
        };
        let (first, first_seat) = enter();
        let (second, second_seat) = enter();
        let (third, third_seat) = enter();
        assert!(table.lock().open[&0].is_closing, "the first was idle for longest");
        assert!(!table.lock().open[&1].is_closing);
        drop((first, first_seat));
        second.request_began(Version::HTTP_11);
        third.request_began(Version::HTTP_11);
        let pings: Vec<_> = (0..PING_CONNECTIONS).map(|_| enter()).collect();
        for (activity, seat) in &pings {
            assert_eq!(seat.as_ref().unwrap().0, Place::PingOnly);
            activity.request_began(Version::HTTP_11);
        }
        assert!(enter().1.is_none());
        drop(second_seat);
        drop(pings);
        assert_eq!(enter().1.unwrap().0, Place::Full);
        drop(third_seat);
    }
}
