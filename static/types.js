/**
 * The types of the server's responses, for the type checker. No page loads this file.
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string} conversation_id
 * @property {number} seq
 * @property {string} role
 * @property {string} content
 * @property {string} message_type
 * @property {string | null} component_type
 * @property {import("./widgets.js").Data | null} component_data
 * @property {string} [answers] The id of the widget that this message answers.
 * @property {{ note?: string } | null} [additional_data] `note`: an expert's note for the agents; only experts see it.
 * @property {boolean} [retracted] The message was withdrawn; its content is empty.
 *
 * @typedef {object} DeskConversation A conversation as experts see it.
 * @property {string} id
 * @property {string} user_id
 * @property {string | null} title
 * @property {string | null} agent_path
 * @property {"ai" | "expert"} mode
 * @property {string} status
 * @property {string | null} expert_id
 * @property {string | null} assigned_to
 * @property {string | null} waiting_since
 * @property {string | null} reason
 * @property {string | null} skill
 * @property {string} updated_at
 * @property {number} message_count
 *
 * @typedef {object} Expert
 * @property {string} id
 * @property {string} sub
 * @property {string | null} name
 * @property {boolean} available
 * @property {string[]} skills
 *
 * @typedef {object} Evaluation A judge's result for an answer.
 * @property {string} id
 * @property {string} conversation_id
 * @property {string} judge
 * @property {string} criterion
 * @property {"failed" | "undecided"} status
 * @property {number | null} score
 * @property {string} reason
 * @property {string} question
 * @property {string} answer
 *
 * @typedef {object} Frame An event of a stream.
 * @property {string} content Text to append.
 * @property {boolean} is_final
 * @property {boolean} [degraded] The answer is not stored, because the database is away.
 * @property {string} [type]
 * @property {string} [message_id] The message that is shown or withdrawn.
 * @property {import("./widgets.js").Widget} [widget]
 * @property {string} [finish_reason]
 * @property {"ai" | "expert"} [mode]
 * @property {number} [position] The visitor's place in the queue.
 * @property {number} [keep] In a final frame: how many frames were stored; the rest is removed from the page.
 * @property {Message} [message]
 * @property {boolean} [is_typing] Whether the other side is writing.
 * @property {{code: string, message: string}} [error]
 * @property {string} [turn_id]
 * @property {DeskConversation} [conversation]
 * @property {DeskConversation[]} [conversations]
 * @property {string} [conversation_id]
 * @property {number} [to_review] How many evaluations wait for an expert's review.
 */
export {};
