package transport

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// Causes of the end of connections; see [End].
var (
	ErrClosed  = errors.New("connection closed")
	ErrSlow    = errors.New("client too slow")
	ErrTimeout = errors.New("client did not answer")
)

// A Receiver handles the messages of one client. Message and Invalid are called by one
// goroutine at a time; Closed may be called at any time.
type Receiver interface {
	// Message receives one complete message. It is text in valid UTF-8, or binary.
	// The slice is valid only during the call. Message may wait; until it returns,
	// nothing more is read from the client.
	Message(c *Conn, data []byte)

	// Process is called after all messages of one read were received. It may be slow:
	// another goroutine reads the connection in the meantime.
	Process(c *Conn)

	// Invalid reports that the client broke RFC 6455 or exceeded a limit, before
	// the connection is closed with that code. Frames that Invalid sends are still
	// delivered.
	Invalid(c *Conn, err *ws.CloseError)

	// Closed reports, once, that no more frames are accepted for this client, and
	// why. All messages that the client sent before it ended the connection were
	// received before. It must not wait.
	Closed(c *Conn, end End)

	// Released reports, once, that the network connection is closed. It must not wait.
	Released(c *Conn)
}

// An End is the reason why a connection ended.
type End struct {
	// Cause is one of the errors above, a [*ws.CloseError] or an error of the network.
	Cause error

	// ByClient is set if the client sent a close frame or disconnected. Otherwise the
	// server decided to end the connection.
	ByClient bool
}

// state is the state of a connection. It only increases.
type state uint8

const (
	open    state = iota
	closing       // the last frame is queued; no more frames are accepted
	closed        // the network connection is closed
)

// A Conn is one WebSocket or one event stream. Its methods are safe for
// concurrent use.
type Conn struct {
	// Static after construction.
	hub    *Hub
	shard  *shard
	recv   Receiver
	stream bool // an event stream

	// Static after Start. Before that, guarded by mu, because frames may be queued
	// for an event stream that is not open.
	net  net.Conn        // nil for a stream that cannot be hijacked
	raw  syscall.RawConn // nil where only net works: TLS, pipes
	body *bodyStream     // instead of net
	enc  encoding

	// The fields for writing are next to each other: broadcasts use them of every
	// receiver.
	mu            sync.Mutex // guards the following fields; see Locks in the package comment
	queue         *queue     // frames that no writer took yet; nil if there are none
	queuedBytes   int        // bytes in queue, in the rest of sending, and in the chunk being written
	keep          *keeper    // nil: all frames are kept
	watched       bool       // there is a watch
	dropSending   bool       // the writer must drop the frames that it took
	writing       bool       // a goroutine holds the right to write: see writer
	state         state
	notified      bool      // Closed was called, or is being called
	readDone      bool      // reading ended
	closeSent     bool      // the last frame is written
	end           End       // why the connection ends, once state is not open
	closeDeadline time.Time // when the last frame must be written; zero before it is queued

	// Owned by the goroutine that holds the right to write.
	sending *queue
	sent    int    // items of sending that are written, or in the chunk being written
	handled *Frame // the result of a handler for outgoing frames, until it is in the chunk
	stalled bool   // a write took slowAfter or longer, and keep was not nil

	combining bool // deliverMixed holds the right to write; owned by the goroutine that drains the shard

	// Guarded by shard.mu.
	slot, pos int // position in the wheel
	pinged    bool
	silent    uint16 // heartbeats in a row that a WebSocket did not answer

	taken        atomic.Int64 // bytes that the connection accepted from a writer that may wait
	writeBlocked atomic.Bool  // a writer waits for the connection, or has just begun to write
	committed    atomic.Int64 // bytes for this client alone in the shard's queue

	discarding        atomic.Bool  // no further data from the client is expected
	receivedSincePing atomic.Bool  // data arrived since the last heartbeat
	paused            atomic.Bool  // the Receiver blocks reading, so missing data proves nothing
	unfinishedPings   atomic.Int32 // 0, or 1 plus the number of heartbeats since the current message began

	// Owned by the goroutine that reads. With direct reads, the decoder is owned by
	// the goroutine that holds reader.decoding.
	dec       ws.Decoder
	reader    *rawReader
	buffered  []byte // sent by the client right after its handshake
	discarded int    // bytes
	controls  controls
}

// WebSocket reports whether the connection is a WebSocket; it is an event
// stream otherwise.
func (c *Conn) WebSocket() bool { return !c.stream }

// Start starts reading, and writes the queued frames. It is called once, when recv is
// ready to be called.
func (c *Conn) Start() {
	c.hub.tasks.Add()
	c.shard.register(c)
	switch {
	case c.raw != nil:
		go c.readRaw()
	case c.body == nil:
		go c.read()
	}
	writer{c}.drain()
}

// Send queues f for this client alone, and writes it if the connection and its
// shard are idle. It never waits. Frames for a connection that ended are dropped.
func (c *Conn) Send(f *Frame) {
	var w Work
	c.Queue(&w, f, nil)
	w.Do()
}

// Queue commits f for this client alone; w.Do sends it. A frame with a seat
// passes through [Owner.Outgoing] of the seat's owner first.
func (c *Conn) Queue(w *Work, f *Frame, seat *Seat) {
	c.shard.send(w, c, item{f, seat})
}
