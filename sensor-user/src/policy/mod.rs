//! Policy documents and facts about a call come in; one decision, which names the rule that made it, goes out.

mod attribute;
mod pattern;
mod facts;
pub mod document;
mod problem;
mod read;
mod title;
mod window;
mod condition;
mod index;
mod asked;
mod compile;
mod providers;
mod set;
mod hosts;
mod forms;
mod rollout;
mod decision;
mod engine;
mod given;
mod shadow;
mod lint;
pub mod rows;
mod schema;
#[cfg(test)]
mod tests;

pub use attribute::Attribute;
pub use attribute::Attributes;
pub use decision::Decision;
pub use decision::Effect;
pub use decision::Existing;
pub use decision::Outlook;
pub use decision::Ruling;
pub use document::Mode;
pub use engine::Engine;
pub use facts::Fact;
pub use facts::Facts;
pub use facts::Transport;
pub use forms::Forms;
pub use given::Given;
pub use hosts::Hosts;
pub use lint::lint;
pub use problem::Problem;
pub use problem::Severity;
pub(crate) use problem::advice;
pub use read::Document;
pub use read::Source;
pub use schema::schema;
pub use set::Named;
pub use set::Set;
pub use title::Title;
pub use title::titled;
pub use title::without;

use set::Approved;
