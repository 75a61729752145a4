// A chat with the server that npm has. It prints its address, and ends with its standard input.

const PondSocket = require("@eleven-am/pondsocket").default;

const [host, port] = process.argv[2].split(":");
const pond = new PondSocket();
const lobby = pond.createEndpoint("/socket", (req, res) => res.accept()).createChannel("/chat/:room", (req, res) => {
  if (req.joinParams.decline) return res.reject("Nope", 403);
  res.accept();
  if (req.joinParams.track) res.trackPresence({ name: req.joinParams.name, status: "online" });
});
lobby.onEvent("say", (req, res) => res.broadcast("say", req.event.payload));
lobby.onEvent("status", (req, res) => res.updatePresence(req.event.payload));
lobby.onEvent("kick", (req, res) => res.evictUser("spam"));
const server = pond.listen(Number(port), host, () => console.log(`${host}:${server.address().port}`));
process.stdin.on("end", () => process.exit()).resume();
process.on("SIGTERM", () => process.exit());
