/**
 * A mail server that stores nothing: it prints each message as one line of JSON. The second argument is how
 * many messages it refuses first.
 */
import { SMTPServer } from "smtp-server";

let refusals = Number(process.argv[3] ?? 0);
const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ["STARTTLS"],
  onData(stream, session, done) {
    let text = "";
    stream.on("data", (piece) => (text += piece));
    stream.on("end", () => {
      if (refusals-- > 0) return done(new Error("Not \0 now"));
      const { mailFrom, rcptTo } = session.envelope;
      const from = mailFrom ? mailFrom.address : "";
      console.log(JSON.stringify({ from, to: rcptTo.map(({ address }) => address), text }));
      done();
    });
  },
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
