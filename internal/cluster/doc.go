// Package cluster has the parts of a node that do not depend on channels: queues to and
// from the broker, tables of other nodes and their users, and positions in a log.
package cluster
