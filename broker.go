package pond

import (
	"context"
	"io"
	"net/http"
	"time"
)

// ErrTooLarge means that a message is larger than the limit of the cluster's broker;
// see [Broker].
var ErrTooLarge = known(http.StatusRequestEntityTooLarge, "the message is too large for the broker")

// A Broker carries messages between the nodes of a cluster. It looks only at their
// topics. Each node has its own Broker value, created by a package such as
// memorybroker.
//
// This comment and those of the methods are a contract between nodes and brokers.
// Package brokertest tests whether a broker complies with it.
//
// A topic is a string of 1 to 1,024 bytes of UTF-8 without control characters. Two
// topics are the same if their bytes are equal. Clients choose parts of the string, so
// a broker must not interpret it as a pattern.
//
// A message is a JSON object in UTF-8 without white space around it. Subscribers
// receive exactly the bytes that were sent. Both sides may keep the bytes of a message,
// and neither may modify them after passing the message on.
//
// # Order and loss
//
// All subscribers of a topic receive the messages of one node in the order of its calls
// of [Broker.Publish] and [BrokerLog.Append], if each of these calls starts after the
// previous one returned. Different subscribers may receive the messages of several
// nodes in different orders, unless the messages are in the log. A node that subscribed
// to the topic also receives its own messages, so it knows that they arrived.
//
// A subscriber receives a message at most once. A broker may lose messages, but not
// silently: see [Receiver.Gap].
//
// # Errors
//
// A method returns [ErrClosed] after Close, [ErrTooLarge] for a message of more than
// MaxBytes bytes, and an error that wraps [context.Cause] when the context is done. It
// does not wait longer than that. All other errors are temporary. A broker reconnects
// automatically until it is closed, and a node may call it in the meantime.
//
// All methods may be called concurrently.
type Broker interface {
	// Publish sends messages, in order, to all subscribers of the topic. It returns nil
	// when the backend has received them. So a slow backend slows down the caller, and the
	// broker needs no unlimited queue. After an error, subscribers may receive none, some
	// or all of the messages, but no message twice. If a message is too large, none of
	// them is sent.
	Publish(ctx context.Context, topic string, batch [][]byte) error

	// Subscribe makes r the receiver of a topic. It returns when the backend confirms the
	// subscription: r receives each message whose Publish starts after that. It returns an
	// error if the topic already has a receiver. After an error, r is not called any more.
	//
	// Closing the returned Closer ends the subscription. Close waits for a call of r
	// that is in progress, so the caller must not hold a lock that r needs; r itself
	// must not call it. After Close returns, r is not called any more, and the node may
	// subscribe to the topic again immediately. Further calls of Close do nothing.
	Subscribe(ctx context.Context, topic string, r Receiver) (io.Closer, error)

	// Health returns nil if the broker can publish and receive, as far as it knows, and
	// otherwise the reason. It does not wait. A node without a connection reports that it
	// is degraded. It must not treat other nodes as dead because it receives nothing from
	// them.
	Health() error

	// MaxBytes returns the maximum size of a message, at least 64 KiB. It may change when
	// the broker reconnects.
	MaxBytes() int

	// Close closes the broker. It waits for calls of Publish and Append that are in
	// progress, ends all subscriptions, and closes the connections. If ctx is done first,
	// it interrupts the calls and returns the context's error. After Close returns, no
	// receiver is called any more. Receivers must not call Close. Further calls do
	// nothing.
	Close(ctx context.Context) error
}

// A BrokerWaiter is a [Broker] that knows whether the other nodes are subscribed again
// after an outage. Nodes reconnect at different times, and a message that is published
// before another node is subscribed again does not reach it.
type BrokerWaiter interface {
	Broker

	// AwaitSubscribers returns nil when the node may publish to a topic. Without an outage,
	// it returns immediately. After one, it waits until the topic has as many subscribers as
	// before, but only for a short time after the backend works again, because other nodes
	// may have ended. It leaves some time until the deadline of the context for
	// [Broker.Publish]. [Broker.Close] does not wait for it: it then returns [ErrClosed].
	// After another error, the node tries again. A node calls it for messages that it keeps
	// in a queue, and not for heartbeats.
	AwaitSubscribers(ctx context.Context, topic string) error
}

// A Receiver receives the messages of one topic. The broker calls its methods one at a
// time, even when several nodes publish. The methods must not wait for the broker, or
// for a lock that is held during a call of the broker, because other topics may wait
// until they return.
type Receiver interface {
	// Receive handles a message.
	Receive(e Entry)

	// Gap reports that messages of the topic may be lost, because the broker
	// reconnected, dropped messages, or detected that the subscription received
	// nothing. The broker calls Gap when the subscription is confirmed again, between the
	// messages before the loss and those after it. The receiver can then ask for the state
	// that it missed. Gap may be called even if no message was lost.
	Gap(reason error)
}

// An Entry is a message as a [Receiver] gets it. Pos and Prev are zero if it is not in
// the log.
type Entry struct {
	// Pos is the position of the message in the log of its topic.
	Pos Position
	// Prev is the offset of the previous entry in the same epoch, and zero for the first
	// entry. A receiver that did not receive the entry at Prev missed a message.
	Prev uint64
	Data []byte
}

// A BrokerLog is a [Broker] that also keeps messages: one log per topic, with a history
// that outlives the nodes. All subscribers and readers receive the entries in the same
// order.
//
// Offsets are from 1 to 1<<53-1, and offset zero is before the first entry. An epoch is
// a string of 1 to 22 of the characters A-Z, a-z, 0-9, - and _. The zero [Position]
// means no position.
//
// The first Open or Append creates a log. The log ends with Drop, or when there is no
// Open or Append for [Retention.Age]. Each new log has a new epoch. If the backend lost
// entries, or may have lost some because it was restarted without a copy on disk or
// because a replica took over, it must start a new epoch. Otherwise it would use
// offsets twice, and readers could not detect the loss.
type BrokerLog interface {
	Broker

	// Open returns the position of the newest entry. It creates the log if there is none.
	// An existing log does not end for another Age.
	Open(ctx context.Context, topic string, keep Retention) (Position, error)

	// Append stores a batch and sends it to all subscribers of the topic, including the
	// node itself, in one atomic step: either all entries are in the log, next to each
	// other, or none. It creates the log if there is none.
	//
	// After an error, the caller does not know whether the batch is stored. It may call
	// Append again with the same batch, alone or followed by more messages: the log
	// remembers the number of the last message of each producer for at least two minutes,
	// and skips messages that it already has. Only [ErrTooLarge] means that nothing is
	// stored.
	//
	// Append returns the position of the last message of the batch, or a later one. If the
	// receiver of the topic does not reach it, it missed messages.
	Append(ctx context.Context, topic string, b Batch) (Position, error)

	// Since reads the entries after a position, oldest first: at most limit, and not more
	// than about 1 MiB unless the first one is larger. The zero Position means the start
	// of the log.
	Since(ctx context.Context, topic string, from Position, limit int) (Page, error)

	// Last reads the newest entries, oldest first, with the limits of Since.
	Last(ctx context.Context, topic string, limit int) (Page, error)

	// Tops returns the positions of the newest entries of several topics, in the
	// order of the topics, and the zero Position for a topic without a log.
	Tops(ctx context.Context, topics []string) ([]Position, error)

	// Drop ends a log. It does nothing if there is none.
	Drop(ctx context.Context, topic string) error
}

// A Batch contains the messages of one [BrokerLog.Append]. Calls for the same producer
// and topic must not overlap.
type Batch struct {
	// Producer is unique for each run of a node: 1 to 64 bytes of ASCII without
	// control characters.
	Producer string
	// First is the number of the first message in Data. A producer numbers its
	// messages in each topic, from 1. It may skip numbers, but must not go back.
	First uint64
	Data  [][]byte
	Keep  Retention
}

// Retention limits a log. The oldest entries are dropped as soon as one of the limits
// is exceeded; the newest entry stays even if it is larger than Bytes. The limits of
// the latest Open or Append apply. All fields must be positive.
type Retention struct {
	Messages int
	Bytes    int           // of all messages in total
	Age      time.Duration // of a message, and of a log without Open and Append
}

// A Page is a part of a log.
type Page struct {
	Entries []Entry
	// Top is the position of the newest entry of the log, even if it is not in the page.
	// It is zero if there is no log.
	Top Position
	// Complete reports that no entry is missing between the requested position and the
	// first entry, or Top if there are no entries: the position belongs to the epoch of
	// the log, and no entry after it was dropped. For a position of another epoch, or one
	// that the log did not reach yet, Complete is false and there are no entries. For
	// [BrokerLog.Last], Complete is true if there is a log.
	Complete bool
}

// A BrokerQueue describes the messages that a Pond has not sent to its broker yet.
type BrokerQueue struct {
	Topics  int // channels with queued messages, and a few topics of the node itself
	Failing int // those whose last attempt to send messages failed
	Bytes   int // size of all queued messages, including their memory overhead
}

// BrokerQueue returns the current length of the queues to the broker, which is zero
// without [WithBroker]. It is meant for metrics: without a problem, it is close to zero.
// If more than 8 MiB are queued in a channel, or 64 MiB in total, messages are lost or
// rejected: see [Observer.Lost] and [ErrOverloaded].
func (p *Pond) BrokerQueue() (q BrokerQueue) {
	if p.node != nil {
		q.Topics, q.Failing, q.Bytes = p.node.lanes.Queued()
	}
	return q
}
