//! Which process goes to which node: a pure function.

use std::{cmp::Reverse, collections::BTreeMap};

use teraslice_core::backend::Role;
use teraslice_model::id::ExId;

/// A node as far as placing is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Processes that still fit.
    pub(super) free: u32,
    /// Controllers that are there.
    pub(super) controllers: u32,
    /// Workers that are there, by execution.
    pub(super) workers: BTreeMap<ExId, u32>,
}

/// What of an execution is to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) ex_id: ExId,
    pub(super) controller: Seat,
    /// Workers that have a place.
    pub(super) workers_placed: u32,
    /// Workers that want one.
    pub(super) workers_waiting: u32,
}

/// Whether a controller has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// It has.
    Placed,
    /// It wants one.
    Waiting,
    /// There shall be none.
    Unwanted,
}

/// One process goes to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) ex_id: ExId,
    pub(super) role: Role,
    /// The index of the node.
    pub(super) room: usize,
}

/// Places what fits. The wishes are in the order in which their executions came.
///
/// # Guarantees
///
/// - No node gets more than what is free there.
/// - An execution begins only where its controller and one worker fit; its workers come after its controller.
/// - What an execution at work lacks altogether (its controller, or its only worker) comes first. Then who came first is
///   served first: whoever comes later takes nothing that an earlier one waits for.
/// - A controller goes where most is free; workers of one execution are spread as evenly as the free slots let them.
pub(super) fn plan(rooms: Vec<Room>, wishes: &[Wish]) -> Vec<Placement> {
    let mut planner = Planner { rooms, placements: Vec::new() };
    let mut open = wishes.to_vec();
    for wish in &mut open {
        planner.restore(wish);
    }
    for wish in &mut open {
        if !planner.serve(wish) {
            break;
        }
    }
    planner.placements
}

struct Planner {
    rooms: Vec<Room>,
    placements: Vec<Placement>,
}

impl Planner {
    /// Gives an execution at work what it cannot go on without.
    fn restore(&mut self, wish: &mut Wish) {
        if wish.controller == Seat::Waiting && wish.workers_placed > 0 {
            self.place_controller(wish);
        }
        if wish.controller == Seat::Placed && wish.workers_placed == 0 {
            self.place_worker(wish);
        }
    }

    /// Places what fits of an execution; tells whether that is all of it.
    fn serve(&mut self, wish: &mut Wish) -> bool {
        if wish.controller == Seat::Waiting {
            let needed = 1 + wish.workers_waiting.min(1);
            let is_enough = self.rooms.iter().map(|room| u64::from(room.free)).sum::<u64>() >= needed.into();
            if !is_enough || !self.place_controller(wish) {
                return false;
            }
        }
        while wish.workers_waiting > 0 {
            if !self.place_worker(wish) {
                return false;
            }
        }
        true
    }

    fn place_controller(&mut self, wish: &mut Wish) -> bool {
        let free = self.rooms.iter().enumerate().filter(|(_, room)| room.free > 0);
        let best = free.min_by_key(|(index, room)| (Reverse(room.free), room.controllers, *index));
        let Some((index, _)) = best else { return false };
        self.rooms[index].controllers += 1;
        wish.controller = Seat::Placed;
        self.take(index, wish.ex_id, Role::Controller);
        true
    }

    fn place_worker(&mut self, wish: &mut Wish) -> bool {
        if wish.workers_waiting == 0 {
            return false;
        }
        let count = |room: &Room| room.workers.get(&wish.ex_id).copied().unwrap_or_default();
        let free = self.rooms.iter().enumerate().filter(|(_, room)| room.free > 0);
        let best = free.min_by_key(|(index, room)| (count(room), Reverse(room.free), *index));
        let Some((index, _)) = best else { return false };
        *self.rooms[index].workers.entry(wish.ex_id).or_default() += 1;
        wish.workers_placed += 1;
        wish.workers_waiting -= 1;
        self.take(index, wish.ex_id, Role::Worker);
        true
    }

    fn take(&mut self, room: usize, ex_id: ExId, role: Role) {
        self.rooms[room].free -= 1;
        self.placements.push(Placement { ex_id, role, room });
    }
}

#[cfg(test)]
mod tests;
