/**
 * The panel's style, as a constructed style sheet: the page's Content Security Policy does not restrict those.
 */
export const sheet = new CSSStyleSheet();

sheet.replaceSync(`
  .panel {
    --ground: #f6f5f2; --paper: #fff; --ink: #1d1c1a; --quiet: #67635c; --line: #dedad2;
    --mark: #0b5c55; --on-mark: #fff;
    display: grid; grid-template-rows: auto 1fr auto auto auto;
    box-sizing: border-box; width: 24rem; height: min(38rem, calc(100dvh - 2rem));
    overflow: hidden; border: 1px solid var(--line); border-radius: 1rem;
    font: 1rem/1.5 system-ui, sans-serif; text-align: start;
    color: var(--ink); background: var(--ground);
    box-shadow: 0 0.5rem 2rem rgb(0 0 0 / 25%);
  }
  @media (prefers-color-scheme: dark) {
    .panel {
      --ground: #161615; --paper: #232321; --ink: #edebe6; --quiet: #a5a097; --line: #3a3936;
      --mark: #6fd0c4; --on-mark: #0c1f1d;
    }
  }
  @media (max-width: 30rem) {
    .panel { position: fixed; inset: 0; width: auto; height: 100dvh; border: 0; border-radius: 0; }
  }
  .panel.page { position: static; width: 100%; height: 100%; border: 0; border-radius: 0; box-shadow: none; }
  .panel.page header { display: none; }
  .panel.page ol { width: min(48rem, 100%); margin: 0 auto; }
  .panel * { box-sizing: border-box; }
  .panel [hidden], .panel[hidden] { display: none; }
  header { display: flex; align-items: center; gap: 0.5rem; padding: 0.5rem 0.75rem; border-bottom: 1px solid var(--line); }
  h2 { flex: 1; margin: 0; font-size: 1.0625rem; }
  ol { display: flex; flex-direction: column; gap: 0.5rem; margin: 0; padding: 0.75rem; overflow-y: auto; list-style: none; }
  li { max-width: 85%; padding: 0.5rem 0.875rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--paper); white-space: pre-wrap; overflow-wrap: anywhere; }
  li.user { align-self: flex-end; border-color: var(--mark); background: var(--mark); color: var(--on-mark); }
  li.user.unsent { border-style: dashed; background: none; color: var(--ink); }
  li.user.unsent::after { content: " (not sent)"; color: var(--quiet); }
  li.assistant, li.expert { align-self: flex-start; }
  li.expert { border-inline-start: 0.25rem solid var(--mark); }
  li.system { align-self: center; max-width: 95%; border: 0; background: none; color: var(--quiet); font-size: 0.875rem; text-align: center; }
  .not-kept { display: block; margin-top: 0.375rem; color: var(--quiet); font-size: 0.875rem; }
  li.assistant[aria-busy]::after { content: "▍"; color: var(--quiet); }
  .widget { display: flex; flex-wrap: wrap; gap: 0.5rem; min-width: 0; margin: 0; padding: 0; border: 0; white-space: normal; }
  .widget legend { padding: 0; margin-bottom: 0.5rem; font-weight: 600; }
  .widget p { flex-basis: 100%; margin: 0; }
  .widget img { max-width: 100%; border-radius: 0.5rem; }
  .widget a { color: var(--mark); overflow-wrap: anywhere; }
  .widget[disabled] { opacity: 0.6; }
  form.fields { display: grid; flex: 1; gap: 0.25rem; padding: 0; }
  .fields input, .fields select, .fields textarea { width: 100%; padding: 0.375rem 0.625rem; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--ground); color: inherit; font: inherit; }
  .fields input[type="checkbox"] { justify-self: start; width: auto; }
  .fields .send { margin-top: 0.5rem; justify-self: start; }
  .status { min-height: 1.5rem; margin: 0; padding: 0 0.875rem; color: var(--quiet); font-size: 0.875rem; }
  .hidden { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  form { display: flex; gap: 0.5rem; padding: 0.5rem 0.75rem 0.75rem; }
  textarea { flex: 1; min-width: 0; max-height: 8rem; padding: 0.5rem 0.75rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--paper); color: inherit; font: inherit; resize: none; field-sizing: content; }
  button { padding: 0.375rem 0.75rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--paper); color: inherit; font: inherit; font-size: 0.875rem; cursor: pointer; }
  button:disabled { opacity: 0.6; cursor: default; }
  .send { border-color: var(--mark); background: var(--mark); color: var(--on-mark); font-size: 1rem; }
  :focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
  @media (prefers-reduced-motion: no-preference) {
    li.assistant[aria-busy]::after { animation: blink 1s steps(2) infinite; }
    @keyframes blink { 50% { opacity: 0; } }
  }
`);
