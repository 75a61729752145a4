package pond

import (
	"context"
	"io"
	"net/http"
	"time"
)

// ErrTooLarge says that a message is larger than the broker of the cluster accepts;
// see [Broker].
var ErrTooLarge = known(http.StatusRequestEntityTooLarge, "the message is too large for the broker")

// A Broker carries messages between the nodes of a cluster. It knows their topics and
// nothing else about them. Each node has a Broker value of its own, made by a package
// such as memorybroker.
//
// This comment and those of the methods are a contract between nodes and brokers.
// Package brokertest tests whether a broker keeps it.
//
// A topic is a text of 1 to 1,024 bytes of UTF-8 without control characters. Two
// topics are the same if they are equal byte by byte. Clients choose parts of the
// text, so a broker must not take any of it for a pattern.
//
// A message is a JSON object in UTF-8 without white space around it. Subscribers
// receive it byte by byte as it was sent. Neither side may modify the bytes of a
// message after handing it over, and both may keep them.
//
// # Order and loss
//
// All subscribers of a topic receive the messages of one node in the order of its
// calls of [Broker.Publish] and [BrokerLog.Append], if each of these calls began after
// the one before had returned. Messages of several nodes may be received in different
// orders by different subscribers, unless they are in the log. A node receives its own
// messages, too, if it has subscribed to the topic: it then knows that they arrived.
//
// A subscriber receives a message at most once. A broker may lose messages, but not
// silently: see [Receiver.Gap].
//
// # Errors
//
// A method returns [ErrClosed] after Close, [ErrTooLarge] for a message of more than
// MaxBytes bytes, and an error that wraps the cause of the context's end when the
// context is done. It does not wait longer than the context allows. All other errors
// are temporary. A broker reconnects by itself for as long as it is not closed, and a
// node may call it while it does.
//
// All methods may be called concurrently.
type Broker interface {
	// Publish sends messages to all subscribers of the topic, in their order. It
	// returns nil when the backend has them. A slow backend therefore slows down the
	// caller, and the broker needs no queue without a limit. After an error,
	// subscribers may receive none, some or all of the messages, but no message twice.
	// If a message is too large, none of them is sent.
	Publish(ctx context.Context, topic string, batch [][]byte) error

	// Subscribe makes r the receiver of a topic. It returns when the backend has
	// confirmed the subscription: r receives each message whose Publish begins after
	// that. It returns an error if the topic has a receiver already; after an error r
	// is not called any more.
	//
	// Closing the returned Closer ends the subscription. Close waits for a call of r
	// that is in progress, so the caller must not hold a lock that r needs; r itself
	// must not call it. After Close has returned, r is not called any more, and the
	// topic may be subscribed to again at once. Closing again does nothing.
	Subscribe(ctx context.Context, topic string, r Receiver) (io.Closer, error)

	// Health returns nil if the broker is able to publish and to receive, as far as
	// it knows, and otherwise the reason. It does not wait. A node without a
	// connection reports itself as degraded, and must not treat other nodes as dead
	// because it receives nothing from them.
	Health() error

	// MaxBytes returns the size of the largest message, at least 64 KiB. It may
	// change when the broker reconnects.
	MaxBytes() int

	// Close ends the broker: it waits for calls of Publish and Append that are in
	// progress, but not longer than ctx allows, ends all subscriptions and closes the
	// connections. When it returns, no receiver is called any more. It returns the
	// context's error if it interrupted calls. Receivers must not call it.
	// Closing again does nothing.
	Close(ctx context.Context) error
}

// A Receiver receives the messages of one topic. The broker calls its methods one at a
// time, also when several nodes publish. They must not wait, neither for the broker
// nor for a lock that is held during a call of the broker, because other topics may
// wait for them to return.
type Receiver interface {
	// Receive takes a message.
	Receive(e Entry)

	// Gap reports that messages of the topic may be lost, because the broker
	// reconnected, dropped messages, or detected that the subscription received
	// nothing. The broker calls Gap when the subscription is confirmed again, after the
	// messages from before the loss and before those from after it. The receiver can
	// then ask for the state that it missed. Gap may be called although nothing was
	// lost.
	Gap(reason error)
}

// An Entry is a message as a [Receiver] gets it. Pos and Prev are zero if it is not in
// the log.
type Entry struct {
	// Pos is the position of the message in the log of its topic.
	Pos Position
	// Prev is the offset of the entry before it in the same epoch, and zero for the
	// first one. A receiver that has not seen the entry at Prev has missed something.
	Prev uint64
	Data []byte
}

// A BrokerLog is a [Broker] that also keeps messages: one log for each topic, with a
// history that outlives the nodes. Entries have one order, which all subscribers and
// all readers see.
//
// Offsets are from 1 to 1<<53-1, and offset zero is before the first entry. An epoch is a
// text of 1 to 22 of the characters A-Z, a-z, 0-9, - and _. The zero [Position] is none.
//
// The first Open or Append begins a log. Drop ends it, and so does a [Retention.Age]
// without Open and Append. A log that begins has a new epoch. If the backend lost
// entries, or may have lost some because it was restarted without a copy on disk or
// because a replica took over, it must not continue the epoch. Otherwise it would use
// offsets twice, and a reader could not detect it.
type BrokerLog interface {
	Broker

	// Open returns the position of the newest entry. It makes the log if there is
	// none, and it keeps an existing one from ending for another Age.
	Open(ctx context.Context, topic string, keep Retention) (Position, error)

	// Append stores a batch and sends it to all subscribers of the topic, the node's
	// own included, in one atomic step: the entries are in the log next to each
	// other, or none of them is. It makes the log if there is none.
	//
	// A caller that got an error does not know whether the batch is stored. It may
	// call Append again with the same batch, alone or with more messages behind it:
	// the log remembers the number of the last message of each producer for at least
	// two minutes, and skips messages that it has. Only [ErrTooLarge] says that
	// nothing is stored.
	//
	// Append returns a position that is not before the last message of the batch. If
	// the receiver of the topic does not get there, it misses something.
	Append(ctx context.Context, topic string, b Batch) (Position, error)

	// Since reads the entries behind a position, oldest first: at most limit, and not
	// more than about 1 MiB unless the first one is larger. The zero Position stands
	// for the beginning of the log.
	Since(ctx context.Context, topic string, from Position, limit int) (Page, error)

	// Last reads the newest entries, oldest first, with the limits of Since.
	Last(ctx context.Context, topic string, limit int) (Page, error)

	// Tops returns the positions of the newest entries of several topics, in the
	// order of the topics, and the zero Position for a topic without a log.
	Tops(ctx context.Context, topics []string) ([]Position, error)

	// Drop ends a log. It does nothing if there is none.
	Drop(ctx context.Context, topic string) error
}

// A Batch is what [BrokerLog.Append] stores. One producer must not append to a topic
// concurrently.
type Batch struct {
	// Producer is unique for each run of a node: 1 to 64 bytes of ASCII without
	// control characters.
	Producer string
	// First is the number of the first message in Data. A producer numbers its
	// messages in each topic, from 1. It may leave numbers out, but not go back.
	First uint64
	Data  [][]byte
	Keep  Retention
}

// Retention limits a log. The oldest entries are dropped as soon as one of the limits
// is exceeded; the newest entry stays even if it is larger than Bytes. The limits of
// the latest Open or Append count. All fields must be positive.
type Retention struct {
	Messages int
	Bytes    int           // of all messages together
	Age      time.Duration // of a message, and of a log in which nothing happens
}

// A Page is a part of a log.
type Page struct {
	Entries []Entry
	// Top is the position of the newest entry, whether it is in the page or not. It
	// is zero if there is no log.
	Top Position
	// Complete reports that nothing is missing between the requested position and the
	// first entry, or Top if there are no entries: the position belongs to the epoch of
	// the log, and no entry behind it was dropped. For a position of another epoch, or
	// one that the log never reached, Complete is false and there are no entries. For
	// [BrokerLog.Last], Complete is true if there is a log.
	Complete bool
}
