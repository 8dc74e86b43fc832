//! The standard operations on records, with the names, settings and meaning that jobs know.

mod set_field;

pub use set_field::SetField;

teraslice_guest_sdk::asset!(SetField);

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing;

    use super::*;

    #[test]
    fn operations_are_described() {
        assert_eq!(testing::description_faults(OPERATIONS), [""; 0]);
    }
}
