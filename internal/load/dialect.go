package load

// A Transport is how clients are connected.
type Transport string

// The transports.
const (
	WebSocket Transport = "ws"
	SSE       Transport = "sse"
)

// A Dialect is the protocol of one kind of server: what its clients send, and
// what a message from it means. The engine does the rest: TCP, HTTP, frames of
// WebSockets and event streams, and WebSocket pings.
//
// Methods are called from the engine's threads, concurrently for different
// clients. What they append is copied before the next call. They are on the hot
// path, Receive above all: search bytes, and do not decode JSON there.
type Dialect interface {
	// Traits says what the server can do and what it promises.
	Traits() Traits

	// Open returns the request that connects a client.
	Open(c *Client) Request

	// Opened appends the text messages that a client sends as soon as the server
	// has accepted the request: for most dialects, the request to join the
	// channel. Use [Outgoing.Send] for each.
	Opened(c *Client, out *Outgoing)

	// Receive says what one incoming message is: a WebSocket message, or the data
	// of one server-sent event. It appends an Event for each thing of interest
	// in it, none if there is nothing. A message that asks for an answer, such as
	// a ping of the dialect's own or the next step of joining, is answered
	// through out. The message is valid during the call; Events may refer to it.
	Receive(c *Client, message []byte, events []Event, out *Outgoing) []Event

	// AppendPublish appends the text message that publishes body to the client's
	// channel. The body is plain ASCII that needs no escaping in JSON; it must
	// come back as it is in every delivery.
	AppendPublish(dst []byte, c *Client, body []byte) []byte

	// AppendEcho appends the text message that asks the server to send body back
	// to this client alone.
	AppendEcho(dst []byte, c *Client, body []byte) []byte

	// Post returns the HTTP request that carries a message of a client whose
	// transport is SSE. The message becomes its body. It is not called for other
	// transports.
	Post(c *Client) Request
}

// Traits are what the engine has to know about a server.
type Traits struct {
	Name       string      // in results
	Transports []Transport // that Open understands

	Echo     bool // AppendEcho works
	Presence bool // Client.Track works

	// SenderExcluded says that a publisher does not get its own messages.
	SenderExcluded bool

	// MayLose and MayReorder say what the server does not promise. Such faults
	// are counted all the same, but [Result.Err] does not mind them.
	MayLose    bool
	MayReorder bool
}

// A Client is one connection, for its Dialect. Number, Room, Track and Transport
// are set before Open is called and do not change. The other fields are the
// dialect's own; a client that connects again begins with zero values.
type Client struct {
	Number    int  // from 0, among all clients
	Room      int  // from 0: the channel that it joins
	Track     bool // show PresenceMark(c.Number) as the public state of this member
	Transport Transport

	ID   string // what the server calls this client, for example
	Step int    // of joining, for example
}

// A Request is what the engine needs to write a request of HTTP/1.1. It adds
// Host, what the transport needs (Upgrade, Sec-WebSocket-*, Accept), and, for a
// POST, Content-Length.
type Request struct {
	Path   string // with its query, such as "/socket?v=2"
	Header string // more header lines, each with "\r\n" at its end
}

// A Kind says what an [Event] is.
type Kind uint8

// The kinds of events.
const (
	// Joined: the client is a member of its channel. Until then it is given no
	// work.
	Joined Kind = iota + 1

	// Delivery: Text is or contains a body that a client has published, or that
	// this client asked to be echoed. The engine reads from the body which.
	Delivery

	// PresenceList: Text has the PresenceMark of all members that are present.
	// PresenceJoin and PresenceLeave: those that came or went.
	PresenceList
	PresenceJoin
	PresenceLeave

	// Refused: the server says no, to the join or to anything else. Text says
	// why. It counts as a fault.
	Refused
)

// An Event is something of interest in an incoming message.
type Event struct {
	Kind Kind
	Text []byte // see Kind
}

// Outgoing collects the text messages that a client is about to send.
type Outgoing struct {
	text []byte
	ends []int // where each message in text ends
}

// Send adds a copy of one message.
func (o *Outgoing) Send(message []byte) {
	o.text = append(o.text, message...)
	o.ends = append(o.ends, len(o.text))
}

// SendString adds one message.
func (o *Outgoing) SendString(message string) {
	o.text = append(o.text, message...)
	o.ends = append(o.ends, len(o.text))
}

// Messages returns what was sent, for tests of dialects.
func (o *Outgoing) Messages() []string {
	var messages []string
	start := 0
	for _, end := range o.ends {
		messages = append(messages, string(o.text[start:end]))
		start = end
	}
	return messages
}

func (o *Outgoing) reset() { o.text, o.ends = o.text[:0], o.ends[:0] }
