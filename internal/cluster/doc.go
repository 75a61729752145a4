// Package cluster has the parts of a node that do not depend on channels: queues
// towards the broker and from it, and what a node knows of other nodes, of their users
// and of a log.
package cluster
