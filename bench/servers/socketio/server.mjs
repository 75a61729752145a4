// Rooms as in Socket.IO's documentation: a client joins with an event that is
// acknowledged, and io.to(room).emit sends to all members. All options are
// defaults, except perMessageDeflate if compression is requested, and connection state
// recovery if clients use it.
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

// The runner installed the package in another directory.
const { modules, compress, recover, lifetime } = parseArgs({
  options: {
    modules: { type: 'string', default: import.meta.dirname },
    compress: { type: 'boolean', default: false },
    recover: { type: 'boolean', default: false },
    lifetime: { type: 'string', default: '600' }, // seconds
  },
}).values;
const { Server } = createRequire(`${modules}/package.json`)('socket.io');

const server = createServer();
const io = new Server(server, {
  ...(compress && { perMessageDeflate: { threshold: 128 } }),
  ...(recover && { connectionStateRecovery: {} }),
});

// begin handlers
io.on('connection', (socket) => {
  socket.on('join', async (room, joined) => {
    await socket.join(room);
    joined();
  });
  socket.on('message', (room, payload) => {
    io.to(room).emit('message', payload);
  });
  socket.on('echo', (payload, reply) => {
    reply(payload);
  });
});
// end handlers

server.listen(0, '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listening ${address}:${port}`);
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'gc') {
      globalThis.gc?.(); // with --expose-gc
      console.log('collected');
    }
  })
  .on('close', () => process.exit());
setTimeout(() => process.exit(), Number(lifetime) * 1000);
