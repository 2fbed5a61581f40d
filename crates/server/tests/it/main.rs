//! What the server does as a whole.

mod edge;
