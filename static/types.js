/**
 * What the server says, as types. Nothing of this file is loaded by a page.
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
 * @property {string} [answers] The widget that it answers.
 * @property {{ note?: string } | null} [additional_data] The desk sees what a colleague has noted.
 * @property {boolean} [retracted] It was withdrawn, and says nothing any more.
 *
 * @typedef {object} DeskConversation A conversation as the desk sees it.
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
 * @typedef {object} Evaluation What a judge said of an answer.
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
 * @property {boolean} [degraded] Nothing of it is stored.
 * @property {string} [type]
 * @property {string} [message_id] What is shown, or withdrawn.
 * @property {import("./widgets.js").Widget} [widget]
 * @property {string} [finish_reason]
 * @property {"ai" | "expert"} [mode]
 * @property {number} [position] The visitor's place in the queue.
 * @property {number} [keep] In a final frame: what came after so many frames does not count.
 * @property {Message} [message]
 * @property {boolean} [is_typing] Whether the other side is writing.
 * @property {{code: string, message: string}} [error]
 * @property {string} [turn_id]
 * @property {DeskConversation} [conversation]
 * @property {DeskConversation[]} [conversations]
 * @property {string} [conversation_id]
 * @property {number} [to_review] How many evaluations somebody has to look at.
 */
export {};
