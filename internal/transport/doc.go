// Package transport moves frames between clients and a [Receiver]. It deals with
// connections, groups of connections, and bytes; it does not know about channels,
// users, or protocol messages.
//
//	Hub      the connections of one endpoint, spread over shards
//	Conn     one WebSocket or one event stream
//	Frame    one message to clients, encoded once per encoding in use
//	Group    the connections that a frame can be broadcast to
//	Work     the work that commits leave until all locks are released
//
// # Order
//
// All frames for one connection take the same path: through the queue of its shard
// while the shard is being drained, and otherwise directly into the connection's
// outbox. So frames reach a client in the order in which they were committed,
// whether they were broadcast or sent to it alone.
//
// # Writing
//
// At most one goroutine writes to a socket: the one that holds the connection's
// right to write, a writer. See writer.go for how it is acquired and released. Only
// methods of writer write to a socket.
//
// # Locks
//
// A goroutine that holds a lock may acquire only those to its right:
//
//	owner of a Group (a channel) > shard > connection
//
// None of them is held while a socket is written, a frame is encoded or a Receiver
// runs. So a commit only queues, while the caller holds a channel's lock. It returns
// Work, and the caller calls [Work.Do] after releasing the lock. A method whose name
// ends in Locked must be called with the lock of its receiver held.
//
// # Goroutines
//
// A connection costs one goroutine, which waits for data with a small stack. With
// direct reads it dispatches the data to a worker of its shard; a few workers are
// kept while there are connections. Writers, and the goroutines that drain a shard,
// exist only while frames are queued. [Hub.Wait] waits for all of them.
package transport
