// Package clusterwire decodes and encodes the messages between the nodes of a cluster:
// version 1 of the distributed protocol of PondSocket. A message is one JSON object
// with the members of an envelope and those of its type:
//
//	{"protocol":"pondsocket.distributed","version":1,"sourceNodeId":"n1","type":"USER_LEFT","messageId":"m1",
//	 "endpointName":"api/socket","channelName":"/chat/1","timestamp":1795393466272,"userId":"u1"}
//
// The output of [Append] is valid for the JavaScript, Python, Rust and Go servers of
// PondSocket; Append rejects messages that would cause a fault in one of them. [Decode]
// accepts the messages of these servers, with their differences, and rejects ambiguous
// messages. docs/cluster-protocol.md describes the format.
//
// All functions are safe for concurrent use. A [Recent] is not.
package clusterwire

// Protocol and Version are in every message.
const (
	Protocol = "pondsocket.distributed"
	Version  = 1
)

// A Type is the kind of a message.
type Type string

// The types. The comment of each type lists the fields of [Message] that it uses in
// addition to the envelope.
const (
	StateRequest    Type = "STATE_REQUEST"     // FromNode
	StateResponse   Type = "STATE_RESPONSE"    // Users
	UserJoined      Type = "USER_JOINED"       // User, Presence, Assigns
	UserLeft        Type = "USER_LEFT"         // User
	UserMessage     Type = "USER_MESSAGE"      // From, Event, Payload, RequestID, Recipients
	PresenceUpdate  Type = "PRESENCE_UPDATE"   // User, Presence
	PresenceRemoved Type = "PRESENCE_REMOVED"  // User
	AssignsUpdate   Type = "ASSIGNS_UPDATE"    // User, Assigns, or Key and Value
	EvictUser       Type = "EVICT_USER"        // User, Reason
	UserRemove      Type = "USER_REMOVE"       // User
	UserGetRequest  Type = "USER_GET_REQUEST"  // User, RequestID, FromNode
	UserGetResponse Type = "USER_GET_RESPONSE" // User, RequestID, Assigns, Presence
	NodeHeartbeat   Type = "NODE_HEARTBEAT"    // Node
)

// Nobody is a recipient that is not a user: a message that has only this one is for the
// users that its [Ext] describes, and for none of other servers.
const Nobody = "__nobody__"

// FromChannel is the sender of messages that no user sent.
const FromChannel = "CHANNEL"

// A Message is one message between nodes. Assigns and presence are JSON objects.
// All JSON values are compact and must not be modified: after [Decode] they may be
// parts of its argument.
type Message struct {
	Type      Type
	ID        string // unique; empty if a foreign node sent none
	Source    string // the node that sent it
	Endpoint  string // as EndpointName returns it
	Channel   string
	Timestamp int64 // milliseconds since 1970; zero if a foreign node sent none

	User       string
	Assigns    []byte
	Presence   []byte
	Key        string // with Value, instead of Assigns: one key was set
	Value      []byte // any JSON value
	From       string // the user that sent it, or FromChannel
	Event      string
	Payload    []byte // any JSON value; pond nodes send only objects
	RequestID  string
	Recipients Recipients
	Reason     string
	Users      []User
	FromNode   string // not always Source, so do not rely on it
	Node       string // of a heartbeat

	Ext Ext
}

// A User is a user of a channel, as the source of a [StateResponse] knows it.
type User struct {
	ID       string
	Assigns  []byte
	Presence []byte
}

// Recipients are the recipients of a [UserMessage].
type Recipients struct {
	To  Audience
	IDs []string // of Listed
}

// An Audience is one of the forms of [Recipients].
type Audience uint8

// The audiences. The zero value is invalid.
const (
	AllUsers Audience = iota + 1
	AllExceptSender
	Listed
)

// Ext contains the extensions of pond nodes. Other nodes ignore it; in their messages,
// it is zero.
type Ext struct {
	Boot   string // of the source; different in each run of the node
	Seq    uint64 // increases with the messages of a boot in a topic; see AppendSeq
	Events uint64 // number of events of the boot in the topic so far, including this one; see AppendSeq
	Base   uint64 // where Events began; it is higher than what the boot counted in the topic before and forgot
	Action string // of the client's frame, if it is not BROADCAST
	Epoch  string // with Offset: the position in the log of the channel
	Offset uint64

	Except     string // of a UserMessage, a JSON array: all users but these, in place of Recipients
	Identities string // a JSON array: users with these identities, too
	Code       int    // of a request to disconnect a client
	Part       Part   // of a StateResponse
	Key        string // of a NodeHeartbeat: the node's key for connection IDs, if it accepts forwarded requests
	Clock      int64  // of a heartbeat or a request: microseconds since the source was created
}

// A Part says which messages are the whole state of a node: those from the first to the
// last one. Users of the node that are not in it have left.
type Part uint8

// The parts. A state that fits into one message is both.
const (
	FirstPart Part = 1 << iota
	LastPart
)

// MaxID is the maximum length in bytes of the IDs of nodes and of messages, because receivers
// keep them. Known servers use UUIDs, or shorter IDs.
const MaxID = 128

// A Reason is the reason why [Decode] rejected a message. It is the error of Decode.
type Reason string

// The reasons.
const (
	TooLarge      Reason = "too large"
	TooDeep       Reason = "nested too deeply"
	TooMany       Reason = "too many users"
	Malformed     Reason = "not a JSON object"
	BadProtocol   Reason = "another protocol or version"
	BadType       Reason = "unknown type"
	BadSource     Reason = "no valid source node"
	BadID         Reason = "no valid message ID"
	BadTimestamp  Reason = "timestamp is not a number"
	BadTopic      Reason = "another endpoint or channel"
	BadUser       Reason = "no user ID"
	BadEvent      Reason = "no event"
	BadRecipients Reason = "no valid recipients"
	BadRequest    Reason = "no request ID"
	BadAssigns    Reason = "neither assigns nor a key"
)

// Error returns the reason.
func (r Reason) Error() string { return "clusterwire: message rejected: " + string(r) }

// emptyObject is used for absent objects. Its capacity is its length, so that appending
// to it copies it.
var emptyObject = []byte{'{', '}'}
