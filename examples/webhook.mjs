// An agent in Node: a service that answers with one JSON object and a widget. SECRET=… PORT=… node webhook.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const { "webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signature } = request.headers;
  const tag = createHmac("sha256", process.env.SECRET).update(`${id}.${stamp}.${body}`).digest("base64");
  const [given, due] = [Buffer.from(String(signature)), Buffer.from(`v1,${tag}`)];
  const isSigned = given.length === due.length && timingSafeEqual(given, due);
  if (!isSigned || Math.abs(Date.now() / 1000 - stamp) > 300) return response.writeHead(401).end();
  const { message, context } = JSON.parse(body);
  response.setHeader("content-type", "application/json");
  if (message.answer) return response.end(JSON.stringify({ content: `${message.answer.rating} points, thank you.` }));
  const widgets = [{ type: "rating", data: { text: "How was it?" } }];
  response.end(JSON.stringify({ content: `Visit ${context.visits}.`, widgets, context: { visits: context.visits + 1 } }));
}).listen(process.env.PORT, "127.0.0.1");
