// A receiver of webhooks: webhook_receiver.mjs SECRET. Says its port, then a line of JSON for each request: whether it verified, its id and its body.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.argv[2]);
const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const id = request.headers["webhook-id"];
    try {
      const body = webhook.verify(Buffer.concat(chunks).toString(), request.headers);
      console.log(JSON.stringify({ verified: true, id, body }));
      response.writeHead(204).end();
    } catch (error) {
      console.log(JSON.stringify({ verified: false, id, why: String(error) }));
      response.writeHead(401).end();
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
