//! The standard operations on records, with the names, settings and meaning that jobs know.

mod add_key;
mod constant;
mod copy_field;
mod date;
mod dedupe;
mod drop_field;
mod fields_filter;
mod filter;
mod filter_by_date;
mod hash;
mod ip;
mod js;
mod json_parser;
mod key;
mod location;
mod pattern;
mod remove_empty_fields;
mod set_field;
mod set_field_conditional;
mod sort;
mod validator;

pub use add_key::AddKey;
pub use copy_field::CopyField;
pub use dedupe::Dedupe;
pub use drop_field::DropField;
pub use fields_filter::{FilterByRequiredFields, FilterByUnknownFields};
pub use filter::Filter;
pub use filter_by_date::FilterByDate;
pub use json_parser::JsonParser;
pub use key::{CopyMetadataField, RemoveKey, SetKey};
pub use remove_empty_fields::RemoveEmptyFields;
pub use set_field::SetField;
pub use set_field_conditional::SetFieldConditional;
pub use sort::Sort;

teraslice_guest_sdk::asset!(
    AddKey,
    CopyField,
    CopyMetadataField,
    Dedupe,
    DropField,
    Filter,
    FilterByDate,
    FilterByRequiredFields,
    FilterByUnknownFields,
    JsonParser,
    RemoveEmptyFields,
    RemoveKey,
    SetField,
    SetFieldConditional,
    SetKey,
    Sort,
);

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing;

    use super::*;

    #[test]
    fn operations_are_described() {
        assert_eq!(testing::description_faults(OPERATIONS), [""; 0]);
    }
}
