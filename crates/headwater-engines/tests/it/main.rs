//! The engines against real servers; one module per engine.
