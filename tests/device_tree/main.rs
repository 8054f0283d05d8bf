//! What device trees yield, whatever is in them: the boards' real ones, made
//! ones, absurd ones, damaged ones.

mod absurd;
mod boards;
mod build;
mod damage;
mod heap;
mod made;
mod random;
mod read;
mod speculation;
