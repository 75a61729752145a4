// Package wire decodes and encodes the messages between clients and servers: one JSON
// object each, compact and on a single line, with five members:
//
//	{"action":"BROADCAST","event":"said","channelName":"/chat/1","requestId":"r1","payload":{"text":"hi"}}
//
// Messages of clients are checked strictly. The output of the Append functions is valid
// for every official client if the payloads come from [Object], [View] or [Decode].
// Payloads stay encoded inside the server.
//
// All functions are safe for concurrent use.
package wire

// An Action is the kind of a message.
type Action string

// Actions of clients.
const (
	JoinChannel  Action = "JOIN_CHANNEL"
	LeaveChannel Action = "LEAVE_CHANNEL"
	Broadcast    Action = "BROADCAST" // also an action of servers
	Ping         Action = "ping"      // heartbeat of an old client, without other members; ignored
)

// Actions of servers. Clients reject all others.
const (
	Connect     Action = "CONNECT"
	System      Action = "SYSTEM"
	Presence    Action = "PRESENCE"
	ErrorAction Action = "ERROR"
)

// Events of [Connect] and [System] messages.
const (
	Connection      = "CONNECTION"       // the first message of a connection
	Acknowledge     = "ACKNOWLEDGE"      // a join was accepted
	Unauthorized    = "UNAUTHORIZED"     // a join failed for any reason
	ExitAcknowledge = "EXIT_ACKNOWLEDGE" // a leave was handled
	Evicted         = "EVICTED"          // to the evicted user
	KickedOut       = "kicked_out"       // to the evicted user, for other clients
	Kicked          = "kicked"           // to the remaining users
	Recovered       = "RECOVERED"        // a replay is complete
	Gap             = "GAP"              // messages are lost
	Reconnect       = "RECONNECT"        // when to reconnect
	PositionEvent   = "POSITION"         // the client's position moved without a message
	PresenceState   = "PRESENCE_STATE"   // a page of all presences
	PresenceDiff    = "PRESENCE_DIFF"    // which presences changed
)

// Events of [Presence] messages.
const (
	PresenceJoin   = "JOIN"
	PresenceUpdate = "UPDATE"
	PresenceLeave  = "LEAVE"
)

// Events of [ErrorAction] messages. All except Destroyed are also error codes.
const (
	InvalidMessage  = "INVALID_MESSAGE"
	HandlerNotFound = "HANDLER_NOT_FOUND" // also: a handler failed
	ChannelNotFound = "CHANNEL_NOT_FOUND" // also: the sender is not a member
	ChannelError    = "CHANNEL_ERROR"
	Destroyed       = "destroyed" // the channel was closed
)

// UnauthorizedJoinRequest is the error code of a join that a handler declined.
const UnauthorizedJoinRequest = "UNAUTHORIZED_JOIN_REQUEST"

// Endpoint is the channel name in messages that do not belong to a channel.
const Endpoint = "ENDPOINT"

// A Message is one message of a client. Its strings share memory, so clone a string
// that outlives the others. Its payload may be shared between messages and must not be
// modified.
type Message struct {
	Action    Action
	Event     string
	Channel   string
	RequestID string
	Payload   []byte // a compact JSON object
	Join      *Join  // of a [JoinChannel] that requests extensions; nil otherwise
}

// emptyObject is used for all empty payloads. Its capacity is its length, so that
// appending to it copies it.
var emptyObject = []byte{'{', '}'}
