//! Where processes go, by example and by property.

use proptest::{collection::vec, prelude::Strategy, prop_assert, prop_oneof, proptest, strategy::Just};

use super::*;

fn ex(number: u8) -> ExId {
    ExId::from_random([number; 16])
}

fn room(free: u32) -> Room {
    Room { free, ..Room::default() }
}

fn fresh(number: u8, workers: u32) -> Wish {
    Wish { ex_id: ex(number), controller: Seat::Waiting, workers_placed: 0, workers_waiting: workers }
}

fn rooms_of(placements: &[Placement], role: Role) -> Vec<usize> {
    placements.iter().filter(|it| it.role == role).map(|it| it.room).collect()
}

#[test]
fn spreads_workers_and_puts_the_controller_where_most_is_free() {
    let placements = plan(vec![room(3), room(4), room(3)], &[fresh(1, 4)]);
    assert_eq!(rooms_of(&placements, Role::Controller), [1]);
    assert_eq!(rooms_of(&placements, Role::Worker), [0, 1, 2, 0]);
}

#[test]
fn puts_controllers_where_fewest_are_among_equals() {
    let first = Room { controllers: 2, ..room(3) };
    let placements = plan(vec![first, room(3)], &[fresh(1, 1)]);
    assert_eq!(rooms_of(&placements, Role::Controller), [1]);
}

#[test]
fn begins_nothing_that_has_no_room_for_a_worker() {
    assert_eq!(plan(vec![room(1)], &[fresh(1, 3)]), []);
    assert_eq!(plan(vec![room(1)], &[fresh(1, 0)]).len(), 1, "unless it wants none");
    assert_eq!(plan(vec![], &[fresh(1, 3)]), []);
}

#[test]
fn lets_nobody_pass_who_came_later() {
    assert_eq!(plan(vec![room(1)], &[fresh(1, 3), fresh(2, 0)]), []);
    let more = Wish { controller: Seat::Placed, workers_placed: 1, ..fresh(2, 5) };
    let placements = plan(vec![room(3)], &[fresh(1, 1), more]);
    assert_eq!(placements.iter().map(|it| it.ex_id).collect::<Vec<_>>(), [ex(1), ex(1), ex(2)]);
}

#[test]
fn restores_what_an_execution_cannot_do_without_before_all_else() {
    let headless = Wish { workers_placed: 2, ..fresh(3, 0) };
    let idle = Wish { controller: Seat::Placed, ..fresh(4, 3) };
    let placements = plan(vec![room(2)], &[fresh(1, 9), headless, idle]);
    assert_eq!(
        placements.iter().map(|it| (it.ex_id, it.role)).collect::<Vec<_>>(),
        [(ex(3), Role::Controller), (ex(4), Role::Worker)]
    );
}

#[test]
fn takes_workers_without_a_controller_where_none_is_wanted() {
    let wish = Wish { controller: Seat::Unwanted, ..fresh(1, 2) };
    assert_eq!(plan(vec![room(1)], &[wish]).len(), 1);
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let seat = prop_oneof![Just(Seat::Placed), Just(Seat::Waiting), Just(Seat::Unwanted)];
    vec((seat, 0..4_u32, 0..12_u32), 0..10).prop_map(|all| {
        let wish = |(number, (controller, workers_placed, workers_waiting))| Wish {
            ex_id: ex(number),
            controller,
            workers_placed,
            workers_waiting,
        };
        (0..).zip(all).map(wish).collect()
    })
}

proptest! {
    #[test]
    fn gives_no_node_more_than_it_has(free in vec(0..8_u32, 0..6), wishes in wishes()) {
        let placements = plan(free.iter().map(|free| room(*free)).collect(), &wishes);
        for (index, free) in free.iter().enumerate() {
            let taken = placements.iter().filter(|it| it.room == index).count();
            prop_assert!(taken <= *free as usize);
        }
        for wish in &wishes {
            let of = |role| placements.iter().filter(|it| it.ex_id == wish.ex_id && it.role == role).count();
            prop_assert!(of(Role::Worker) <= wish.workers_waiting as usize);
            prop_assert!(of(Role::Controller) <= usize::from(wish.controller == Seat::Waiting));
        }
    }

    #[test]
    fn places_controllers_before_their_workers_and_with_one(free in vec(0..8_u32, 0..6), wishes in wishes()) {
        let placements = plan(free.iter().map(|free| room(*free)).collect(), &wishes);
        for wish in wishes.iter().filter(|wish| wish.controller == Seat::Waiting) {
            let mine: Vec<_> = placements.iter().filter(|it| it.ex_id == wish.ex_id).collect();
            prop_assert!(mine.first().is_none_or(|first| first.role == Role::Controller));
            let has_worker = wish.workers_placed > 0 || wish.workers_waiting == 0 || mine.len() > 1;
            prop_assert!(mine.is_empty() || has_worker);
        }
    }

    #[test]
    fn serves_who_came_first(free in vec(0..8_u32, 0..6), wishes in wishes()) {
        let placements = plan(free.iter().map(|free| room(*free)).collect(), &wishes);
        let placed = |wish: &Wish| placements.iter().filter(|it| it.ex_id == wish.ex_id).count();
        let wanted = |wish: &Wish| wish.workers_waiting as usize + usize::from(wish.controller == Seat::Waiting);
        if let Some(short) = wishes.iter().position(|wish| placed(wish) < wanted(wish)) {
            for later in &wishes[short + 1..] {
                let is_begun = later.controller == Seat::Placed || later.workers_placed > 0;
                prop_assert!(placed(later) <= usize::from(is_begun && later.controller != Seat::Unwanted));
            }
        }
    }

    #[test]
    fn leaves_no_slot_free_that_a_begun_execution_waits_for(free in vec(0..8_u32, 0..6), workers in 0..20_u32) {
        let wish = Wish { controller: Seat::Placed, ..fresh(1, workers) };
        let total: u32 = free.iter().sum();
        let placements = plan(free.iter().map(|free| room(*free)).collect(), &[wish]);
        prop_assert!(placements.len() == workers.min(total) as usize);
    }

    #[test]
    fn spreads_within_one(slots in 1..9_u32, nodes in 1..6_usize, workers in 0..20_u32) {
        let placements = plan(vec![room(slots); nodes], &[fresh(1, workers)]);
        let on = |node| placements.iter().filter(|it| it.role == Role::Worker && it.room == node).count();
        let taken = |node| placements.iter().filter(|it| it.room == node).count();
        for one in (0..nodes).filter(|node| taken(*node) < slots as usize) {
            for other in 0..nodes {
                prop_assert!(on(other) <= on(one) + 1);
            }
        }
    }
}
