// A server made with @eleven-am/pondsocket from npm, for the Go client. It has a handler for each thing that a client
// can notice.

const PondSocket = require('@eleven-am/pondsocket').default;

const pond = new PondSocket();
const endpoint = pond.createEndpoint('/socket', (_, res) => res.accept());

const chat = endpoint.createChannel('/chat/:room', (req, res) => {
  const { name, track } = req.joinParams;
  if (name === 'mallory') return res.reject('not you', 403);
  res.accept();
  if (track) res.trackPresence({ id: name, name });
});
chat.onEvent('say', (req, res) => res.broadcast('said', req.event.payload));
chat.onEvent('others', (req, res) => res.broadcastFromUser('said', req.event.payload));
chat.onEvent('ask', (_, res) => res.send('answer', {}));
chat.onEvent('fail', (_, res) => res.reject('busy', 409));
chat.onEvent('update', (req, res) => res.updatePresence(req.event.payload));
chat.onEvent('evict', (_, res) => res.evictUser('spam'));
chat.onEvent('over', (_, res) => res.closeChannel('over'));

// Ends with the test, however the test ends.
process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL')).resume();
const server = pond.listen(Number(process.argv[2]), '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`${address}:${port}`);
});
