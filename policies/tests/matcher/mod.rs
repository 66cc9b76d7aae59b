//! Routes and requests made from bytes, and the naive matcher that the route table has to equal.
//! Shared by the property test and the fuzz target.

pub(crate) mod generate;
pub(crate) mod reference;
