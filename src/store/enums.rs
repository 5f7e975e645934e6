//! Enums that columns store as text: the same text in the database and on the wire.

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::Text,
};
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AsExpression, FromSqlRow)]
        #[derive(utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[diesel(sql_type = Text)]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// The text in the database and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)*
                }
            }

            #[cfg(test)]
            fn all() -> Vec<(serde_json::Value, &'static str)> {
                vec![$((serde_json::json!(Self::$word), $text),)*]
            }
        }

        impl<DB: Backend> FromSql<Text, DB> for $name
        where
            String: FromSql<Text, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                match String::from_sql(value)?.as_str() {
                    $($text => Ok(Self::$word),)*
                    other => Err(format!("{other} is no {}", stringify!($name)).into()),
                }
            }
        }

        impl<DB: Backend> ToSql<Text, DB> for $name
        where
            str: ToSql<Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                self.as_str().to_sql(out)
            }
        }
    )*};
}

words! {
    /// Who wrote a message.
    Role {
        /// The visitor.
        User = "user",
        /// An agent.
        Assistant = "assistant",
        /// An expert.
        Expert = "expert",
        /// The server.
        System = "system",
        /// A tool.
        Tool = "tool",
    }
    /// A message's direction, as the server sees it.
    Direction {
        /// From the visitor.
        Incoming = "incoming",
        /// To the visitor; tool calls and their results count as outgoing, too.
        Outgoing = "outgoing",
    }
    /// The type of a message.
    MessageType {
        /// A visitor's message.
        UserInput = "user_input",
        /// An agent's answer.
        AssistantResponse = "assistant_response",
        /// An agent's tool call, stored before the tool runs.
        ToolCall = "tool_call",
        /// The result of a tool call.
        ToolResult = "tool_result",
        /// A widget to look at or to fill in.
        Widget = "widget",
        /// A visitor's answer to a widget.
        WidgetAnswer = "widget_answer",
        /// An expert's message.
        ExpertMessage = "expert_message",
        /// A notice from the server: who answers now, or the visitor's position in the queue.
        SystemMessage = "system_message",
    }
    /// Who answers in a conversation.
    Mode {
        /// An agent.
        Ai = "ai",
        /// An expert, or nobody until an expert claims the conversation.
        Expert = "expert",
    }
    /// The status of a conversation.
    Status {
        /// It continues.
        Active = "active",
        /// It is resolved.
        Completed = "completed",
        /// It is archived.
        Archived = "archived",
    }
    /// The status of a judge's evaluation of an answer.
    EvaluationStatus {
        /// The judge accepts the answer.
        Passed = "passed",
        /// The judge rejects the answer. Nobody has reviewed it yet.
        Failed = "failed",
        /// The judge could not be reached. Nobody has reviewed the answer yet.
        Undecided = "undecided",
        /// An expert has reviewed the answer.
        Reviewed = "reviewed",
    }
    /// An expert's verdict on an answer that a judge did not pass.
    Verdict {
        /// The answer stays.
        Approve = "approve",
        /// The answer is withdrawn and replaced by the expert's.
        Correct = "correct",
        /// The answer is withdrawn.
        Retract = "retract",
    }
    /// Why a turn ended.
    FinishReason {
        /// The answer is complete.
        Stop = "stop",
        /// The answer reached the maximum length.
        Length = "length",
        /// The visitor stopped the answer.
        Cancelled = "cancelled",
        /// The message is answered together with a later one.
        Merged = "merged",
        /// The conversation waits for an expert, or an expert has claimed it.
        Handoff = "handoff",
        /// The instance that ran the turn died.
        Interrupted = "interrupted",
        /// The turn failed.
        Error = "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_in_the_database_and_on_the_wire() {
        let all = [
            Role::all(),
            Direction::all(),
            MessageType::all(),
            Mode::all(),
            Status::all(),
            EvaluationStatus::all(),
            Verdict::all(),
            FinishReason::all(),
        ];
        for (wire, word) in all.concat() {
            assert_eq!(wire, word);
        }
    }
}
