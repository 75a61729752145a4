package clusterwire

import "strings"

// Heartbeat is the topic of heartbeats, and their endpoint and channel.
const Heartbeat = "__heartbeat__"

// Private is the endpoint of messages between two nodes of pond; the channel is the ID of
// the receiving node. Only this node subscribes to their topic, NodeTopic(ID).
const Private = "__pond__"

// NodeTopic returns the topic of the messages for one node of pond. It contains no colon,
// so it is not the topic of a channel.
func NodeTopic(id string) string { return Private + "." + id }

// EndpointName returns the name of an endpoint in messages and topics: the pattern
// that it was registered with, without leading slashes.
func EndpointName(pattern string) string { return strings.TrimLeft(pattern, "/") }

// MaxTopic is how many bytes a topic may have.
const MaxTopic = 1024

// Topic returns the topic of a channel, without the prefix and the namespace of the
// cluster. Neither name is escaped, so two channels of different endpoints may have the
// same topic: [Decode] compares the names in the message.
func Topic(endpoint, channel string) string { return endpoint + ":" + channel }

// FullTopic returns the name that other servers use for a topic, for example with
// the prefix "pondsocket" and the namespace "default", which are their defaults.
func FullTopic(prefix, namespace, topic string) string {
	return prefix + ":v1:" + namespace + ":" + topic
}
