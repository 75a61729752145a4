// Package transport moves frames between clients and whoever handles their
// messages. It knows connections, groups of connections and bytes; it knows no
// channel, no user and no protocol message.
//
//	Hub      the connections of one endpoint, spread over shards
//	Conn     one WebSocket or one event stream
//	Frame    one message to clients, encoded once for each encoding in use
//	Group    the connections that a frame can be broadcast to
//	Work     what a commit leaves to be done after its lock is released
//
// # Order
//
// Everything for one connection takes one way: through its shard's queue while
// the shard is working, and otherwise straight into the connection's outbox. So
// frames reach a client in the order in which they were committed, broadcasts
// and direct sends alike.
//
// # Locks
//
// Lock order is owner of a Group (a channel) > shard > connection. None of them
// is held while a socket is written, a frame is encoded or a Receiver runs. A
// commit under a channel's lock therefore only queues; it returns Work, and
// [Work.Do] is called when the lock has been released.
//
// # Goroutines
//
// A connection costs one goroutine, which waits for bytes with a shallow stack. On
// the raw path it hands what it reads to a worker of its shard's crew; a few of
// those stay as long as there are connections. Writers and shard workers exist only
// while there is something to write. [Hub.Wait] waits for all of them.
package transport
