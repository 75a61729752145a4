package clusterwire

import "strings"

// Heartbeat is the topic of heartbeats, and their endpoint and channel.
const Heartbeat = "__heartbeat__"

// EndpointName returns the name of an endpoint in messages and topics: the pattern
// that it was registered with, without leading slashes.
func EndpointName(pattern string) string { return strings.TrimLeft(pattern, "/") }

// Topic returns the topic of a channel, without the prefix and the namespace of the
// cluster. Neither name is escaped, so two channels of different endpoints may have the
// same topic: [Decode] compares the names in the message.
func Topic(endpoint, channel string) string { return endpoint + ":" + channel }

// FullTopic returns the name that other servers use for a topic, for example with
// the prefix "pondsocket" and the namespace "default", which are their defaults.
func FullTopic(prefix, namespace, topic string) string {
	return prefix + ":v1:" + namespace + ":" + topic
}
