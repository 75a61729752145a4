package pond

// A LeaveContext carries the end of one membership. It is not cancelled with the
// connection.
type LeaveContext struct {
	stdContext
	member *member
	reason LeaveReason
	detail string
}

// A LeaveReason says why a membership has ended (rule S-26).
type LeaveReason string

// The reasons.
const (
	LeaveRequested     LeaveReason = "explicit_leave"    // the client asked to leave
	LeaveDisconnected  LeaveReason = "connection_closed" // the connection has ended
	LeaveEvicted       LeaveReason = "evicted"           // see [Channel.Evict]
	LeaveChannelClosed LeaveReason = "channel_closed"    // see [Channel.Close]
	LeaveShutdown      LeaveReason = "server_shutdown"   // see [Pond.Shutdown]
	LeaveSlow          LeaveReason = "slow_consumer"     // the client did not keep up
)

// Channel returns the channel that the member has left.
func (c *LeaveContext) Channel() *Channel { return c.member.channel }

// Param returns a parameter of the channel's name; see [Channel.Param].
func (c *LeaveContext) Param(name string) string { return c.member.channel.Param(name) }

// User returns the member as it was when it left.
func (c *LeaveContext) User() User { return c.member.user() }

// Reason returns why the membership has ended.
func (c *LeaveContext) Reason() LeaveReason { return c.reason }

// Detail returns the text that was given to [Channel.Evict] or [Channel.Close],
// and is empty for all other reasons.
func (c *LeaveContext) Detail() string { return c.detail }

// Get returns private state of the member, or nil.
func (c *LeaveContext) Get(key string) any { return c.User().Get(key) }

// Broadcast sends an event to the members that remain; see [Audience.Broadcast].
func (c *LeaveContext) Broadcast(event string, payload any) error {
	return c.member.channel.Broadcast(event, payload)
}
