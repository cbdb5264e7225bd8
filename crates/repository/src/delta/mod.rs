//! Git's delta format: a program of "copy from the base" and "insert these bytes" that rebuilds an object.
//!
//! A delta is two sizes (base, result; little-endian base 128) and then instructions. [`apply`] runs one that came
//! from anywhere, [`Index`] finds one. The format is described in gitformat-pack(5), "Deltified representation".

mod apply;
mod encode;

pub use apply::{DeltaError, apply, sizes};
pub(crate) use encode::{Blocks, worthwhile_max};
pub use encode::{Index, delta_entry};
