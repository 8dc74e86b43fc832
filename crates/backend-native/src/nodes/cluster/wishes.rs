//! What the engine wants of the cluster, and who gets a place next.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use teraslice_core::backend::{DesiredExecution, InstanceId, Retire, Role};
use teraslice_model::id::{ExId, Generation};

use super::{
    super::{
        message::Place,
        plan::{Placement, Room, Seat, Wish, plan},
    },
    Cluster, Moment, Process, Stage, instance_id, places_of,
};

impl Cluster {
    /// Wants what is missing of an execution, and wants no longer what is too much.
    pub(in super::super) fn ensure(&mut self, desired: &DesiredExecution, grace: Duration, at: Moment) {
        let ex_id = desired.ex_id;
        self.note_order(ex_id);
        let counts = [(Role::Controller, u32::from(desired.controller)), (Role::Worker, desired.workers)];
        for (role, count) in counts {
            for ordinal in 0..count {
                self.want(Place { ex_id, generation: desired.generation, role, ordinal }, desired, at);
            }
        }
        let is_surplus = |place: &Place| {
            let count = counts.iter().find(|(role, _)| *role == place.role).map_or(0, |(_, count)| *count);
            let is_earlier = place.generation < desired.generation;
            is_earlier || (place.generation == desired.generation && place.ordinal >= count)
        };
        for place in self.places(ex_id, is_surplus) {
            self.leave(place, Retire::Drain { grace }, at);
        }
    }

    fn want(&mut self, place: Place, desired: &DesiredExecution, at: Moment) {
        if self.processes.get(&place).is_some_and(Process::is_live) {
            return;
        }
        let process = Process {
            incarnation: self.next_incarnation(at.wall),
            job_id: desired.job_id,
            job: Some(Arc::clone(&desired.job)),
            node: None,
            stage: Stage::Waiting,
            kill_at: None,
            pid: None,
            since: at.wall,
            worker_id: 0,
        };
        self.put(place, process);
        self.changed.insert(place.ex_id);
    }

    /// Ends what an execution has up to a generation; returns what may still run. With nothing left it is forgotten.
    pub(in super::super) fn retire(
        &mut self,
        ex_id: ExId,
        upto: Generation,
        how: Retire,
        at: Moment,
    ) -> Vec<InstanceId> {
        let places = self.places(ex_id, |place| place.generation <= upto);
        for place in &places {
            self.leave(*place, how, at);
        }
        let known = |place: &Place| Some((*place, self.processes.get(place)?));
        let live = places.iter().filter_map(known).filter(|(_, process)| process.is_live());
        let live: Vec<_> = live.map(|(place, process)| instance_id(place, process)).collect();
        if live.is_empty() {
            for place in &places {
                let _ended = self.take_out(*place);
            }
            if self.processes.range(places_of(ex_id)).next().is_none() {
                self.orders.remove(&ex_id);
                self.revisions.forget(ex_id);
            }
        }
        live
    }

    /// Kills everything that can be reached, and forgets what waits; tells whether something still runs there.
    pub(in super::super) fn kill_all(&mut self, at: Moment) -> bool {
        let places: Vec<_> = self.processes.keys().copied().collect();
        for place in places {
            self.leave(place, Retire::Kill, at);
        }
        let is_in_reach = |process: &Process| process.node.as_ref().is_some_and(|node| self.is_up(node));
        let has_unwanted = self.nodes.values().any(|node| node.is_up() && !node.unwanted.is_empty());
        has_unwanted || self.processes.values().any(|process| process.is_live() && is_in_reach(process))
    }

    /// Asks a process to leave. Asked again, the shorter grace counts. Who waits for a place just goes.
    fn leave(&mut self, place: Place, how: Retire, at: Moment) {
        let Some(process) = self.processes.get_mut(&place).filter(|process| process.is_live()) else {
            return;
        };
        if process.stage == Stage::Waiting {
            let _waited = self.take_out(place);
            self.changed.insert(place.ex_id);
            return;
        }
        let kill_at = match how {
            Retire::Drain { grace } => at.now + grace,
            Retire::Kill => at.now,
        };
        if process.kill_at.is_some_and(|earlier| earlier <= kill_at) {
            return;
        }
        if process.kill_at.replace(kill_at).is_none() {
            process.since = at.wall;
        }
        let (node, key) = (process.node.clone(), place.with(process.incarnation));
        self.changed.insert(place.ex_id);
        if let Some(node) = node {
            self.tell(&node, key);
        }
    }

    fn places(&self, ex_id: ExId, is_meant: impl Fn(&Place) -> bool) -> Vec<Place> {
        self.processes.range(places_of(ex_id)).map(|(place, _)| *place).filter(is_meant).collect()
    }

    /// Gives a place to whoever waits and fits.
    pub(in super::super) fn place(&mut self, at: Moment) {
        if self.settled_at.is_some_and(|settled| at.now < settled) {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            return;
        }
        let mut wishes: Vec<_> = waiting.keys().map(|ex_id| self.wish(*ex_id)).collect();
        wishes.sort_by_key(|wish| self.orders.get(&wish.ex_id));
        let (names, rooms) = self.rooms();
        for Placement { ex_id, role, room } in plan(rooms, &wishes) {
            let places = waiting.get_mut(&ex_id).expect("the plan is about executions that wait");
            let Some(index) = places.iter().position(|place| place.role == role) else { continue };
            self.assign(places.remove(index), &names[room], at);
        }
    }

    /// Lists the places that wait, of each execution in order.
    fn waiting(&self) -> BTreeMap<ExId, Vec<Place>> {
        let mut waiting: BTreeMap<ExId, Vec<Place>> = BTreeMap::new();
        for place in self.index.waiting() {
            waiting.entry(place.ex_id).or_default().push(place);
        }
        waiting
    }

    fn wish(&self, ex_id: ExId) -> Wish {
        let mut wish = Wish { ex_id, controller: Seat::Unwanted, workers_placed: 0, workers_waiting: 0 };
        let live = || self.processes.range(places_of(ex_id)).filter(|(_, process)| process.is_live());
        // What an earlier generation still has does not count.
        let newest = live().map(|(place, _)| place.generation).max();
        for (place, process) in live().filter(|(place, _)| Some(place.generation) == newest) {
            let is_waiting = process.stage == Stage::Waiting;
            match place.role {
                Role::Controller if is_waiting => wish.controller = Seat::Waiting,
                Role::Controller => wish.controller = Seat::Placed,
                Role::Worker if is_waiting => wish.workers_waiting += 1,
                Role::Worker => wish.workers_placed += 1,
            }
        }
        wish
    }

    /// Returns the nodes that take processes, with the room that is left there.
    fn rooms(&self) -> (Vec<String>, Vec<Room>) {
        let used = self.used();
        let open = self.nodes.iter().filter(|(_, node)| node.is_open());
        let mut rooms: BTreeMap<&str, Room> = open
            .map(|(id, node)| {
                let taken = used.get(id.as_str()).copied().unwrap_or_default();
                let free = node.hello.slots.saturating_sub(taken);
                (id.as_str(), Room { free, ..Room::default() })
            })
            .collect();
        for (place, process) in self.processes.iter().filter(|(_, process)| process.is_live()) {
            let Some(room) = process.node.as_deref().and_then(|node| rooms.get_mut(node)) else { continue };
            match place.role {
                Role::Controller => room.controllers += 1,
                Role::Worker => *room.workers.entry(place.ex_id).or_default() += 1,
            }
        }
        rooms.into_iter().map(|(id, room)| (id.to_owned(), room)).unzip()
    }

    fn assign(&mut self, place: Place, node_id: &str, at: Moment) {
        let node = self.nodes.get_mut(node_id).expect("rooms are made of nodes that are there");
        let worker_id = node.next_worker_id();
        self.change(place, |process| {
            process.node = Some(node_id.to_owned());
            process.worker_id = worker_id;
            process.enter(Stage::Placed, at.wall);
        });
        let key = place.with(self.processes.get(&place).expect("it is waiting").incarnation);
        self.changed.insert(place.ex_id);
        self.tell(node_id, key);
    }

    pub(super) fn note_order(&mut self, ex_id: ExId) {
        self.order_last += 1;
        self.orders.entry(ex_id).or_insert(self.order_last);
    }
}
