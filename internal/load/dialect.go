package load

// A Transport is the way in which clients connect.
type Transport string

// The transports.
const (
	WebSocket Transport = "ws"
	SSE       Transport = "sse"
)

// A Dialect implements the protocol of one kind of server: the messages of clients,
// and the meaning of messages from the server. The engine handles TCP, HTTP, frames
// of WebSockets, event streams, and WebSocket pings.
//
// Methods are called from the engine's threads, concurrently for different clients.
// The engine copies what they append before the next call. Methods are on the hot
// path, especially Receive: search for bytes instead of decoding JSON.
type Dialect interface {
	// Traits describes the abilities and guarantees of the server.
	Traits() Traits

	// Open returns the request that connects a client.
	Open(c *Client) Request

	// Opened appends the text messages that a client sends when the server accepts
	// the request: for most dialects, the request to join the channel. Use
	// [Outgoing.Send] for each.
	Opened(c *Client, out *Outgoing)

	// Receive interprets one incoming message: a WebSocket message, or the data of
	// one server-sent event. It appends an Event for each relevant part. It uses out
	// to answer a message that requires it, such as a ping of the protocol or the
	// next step of joining. The message is valid during the call; Events may refer
	// to it.
	Receive(c *Client, message []byte, events []Event, out *Outgoing) []Event

	// AppendPublish appends the text message that publishes body to the client's
	// channel. The body is plain ASCII that needs no escaping in JSON. Every
	// delivery must contain it unchanged.
	AppendPublish(dst []byte, c *Client, body []byte) []byte

	// AppendEcho appends the text message that asks the server to send body back
	// to this client only.
	AppendEcho(dst []byte, c *Client, body []byte) []byte

	// Post returns the HTTP request that carries a message of an SSE client. The
	// engine adds the message as its body. It is not called for other transports.
	Post(c *Client) Request
}

// Traits describe a server.
type Traits struct {
	Name       string      // in results
	Transports []Transport // supported by Open

	Echo     bool // the dialect supports AppendEcho
	Presence bool // the dialect supports Client.Track
	Recovery bool // the dialect supports Client.Recover

	// SenderExcluded means that a publisher does not receive its own messages.
	SenderExcluded bool

	// MayLose and MayReorder mean that the server does not guarantee delivery or
	// order. Such faults are counted, but [Result.Err] ignores them.
	MayLose    bool
	MayReorder bool
}

// A Client is the state of one connection for its Dialect. Number, Room, Track, Recover
// and Transport are set before Open is called and do not change. The other fields belong
// to the dialect; ID and Step are reset when a client connects again.
type Client struct {
	Number    int  // from 0, among all clients
	Room      int  // from 0: the channel that it joins
	Track     bool // publish PresenceMark(c.Number) as the presence of this member
	Recover   bool // remember the position in the channel; when joining again, ask for the messages after it
	Transport Transport

	ID   string // such as the ID that the server gave to this client
	Step int    // such as the step of joining

	// The position in the channel; the dialect sets it if Recover is set.
	Epoch  string // empty before the client joined for the first time
	Offset uint64
	Last   string // instead of Offset, if positions are not numbers
}

// A Request describes an HTTP/1.1 request. The engine adds the headers Host,
// Content-Length (for POST), and those of the transport (Upgrade, Sec-WebSocket-*,
// Accept).
type Request struct {
	Path   string // with the query, such as "/socket?v=2"
	Header string // more header lines, each ending with "\r\n"
}

// A Kind is the kind of an [Event].
type Kind uint8

// The kinds of events.
const (
	// Joined: the client became a member of its channel. The engine does not use it
	// before that.
	Joined Kind = iota + 1

	// Delivery: Text starts with or contains a body that a client published, or that
	// this client asked the server to echo.
	Delivery

	// PresenceList: Text contains the PresenceMark of all members that are present.
	// PresenceJoin and PresenceLeave: Text contains those of members that joined or
	// left.
	PresenceList
	PresenceJoin
	PresenceLeave

	// Rejected: the server rejected the join or a message. Text is the reason. It
	// counts as a fault. If the dialect knows which message was rejected, Stamp
	// contains its RequestStamp: then the deliveries of that message are not
	// expected any more.
	Rejected

	// Recovered: a client that joined again received all messages that it missed.
	Recovered

	// Unrecovered: the server cannot send all messages that the client missed. Text is
	// the reason. It counts as a fault.
	Unrecovered
)

// An Event is a relevant part of an incoming message.
type Event struct {
	Kind  Kind
	Text  []byte // see Kind
	Stamp []byte // see Rejected
}

// Outgoing collects the text messages that a client sends next.
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

// Messages returns the collected messages, for tests of dialects.
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
