package pond

import (
	"context"
	"log/slog"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
)

// evictFor evicts a user at the request of another node.
func (l *link) evictFor(m *clusterwire.Message) {
	switch m.Ext.Action {
	case closeAction:
		l.ch.closeHere(m.Reason)
		return
	case personAction:
		_ = l.ch.commit(func(tx *tx) error { // in a closed channel, nobody is left
			tx.personMessage(m)
			return nil
		})
		return
	case "":
	default:
		return
	}
	if m.Ext.Identities == "" {
		if member, err := l.ch.member(m.User); err == nil {
			_ = member.evict(m.Reason) // it has just left
		}
		return
	}
	identities, _ := clusterwire.Strings(m.Ext.Identities) // none, if a node is broken
	for _, identity := range identities {
		l.ch.evictIdentityHere(identity, m.Reason)
	}
}

// closeAction is the action of the message that closes a channel.
const closeAction = "CLOSE"

// evictMessage returns a message that evicts a user on another node.
func (l *link) evictMessage(user, reason string) clusterwire.Message {
	m := l.message(clusterwire.EvictUser)
	m.User, m.Reason = user, reason
	return m
}

// evict asks the node of a user to evict it. Other implementations may do so without a
// message to the other nodes, so evict sends that message too.
func (l *link) evict(id, reason string) error {
	m := l.evictMessage(id, reason)
	it, err := l.encode(&m)
	if err != nil {
		return err
	}
	var host string
	err = l.ch.commit(func(tx *tx) error {
		remote := l.remote.shown[id]
		if remote == nil {
			return ErrNotMember
		}
		host = remote.remote.node
		return l.node.push(l.name, *it)
	})
	if err == nil && !l.node.nodes.Ours(host) {
		time.AfterFunc(probeTimeout, func() { l.evicted(host, id) })
	}
	return err
}

// evicted notifies the other nodes that a user was evicted, unless the node of the user
// did.
func (l *link) evicted(host, id string) {
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		if !l.remote.claims.Remove(host, id) {
			return nil
		}
		m := l.message(clusterwire.UserLeft)
		m.User = id
		tx.tell(&m, "")
		tx.showRemote(id)
		return nil
	})
}

// evictIdentity asks the other nodes to evict the users with an identity. It returns
// whether there are any, as far as this node knows.
func (l *link) evictIdentity(identity, reason string) (known bool, err error) {
	m := l.evictMessage(clusterwire.Nobody, reason)
	m.Ext.Identities = stringArray([]string{identity})
	it, err := l.encode(&m)
	if err != nil {
		return false, err
	}
	err = l.ch.commit(func(*tx) error {
		for _, m := range l.remote.shown {
			known = known || m.remote.identity == identity
		}
		known = known || len(l.remote.people.other[identity].nodes()) > 0
		return l.node.push(l.name, *it)
	})
	return known, err
}

// closing returns the message that closes the channel on other nodes, or nil.
func (l *link) closing(reason string) *cluster.Item {
	if l == nil {
		return nil
	}
	m := l.evictMessage(clusterwire.Nobody, reason)
	m.Ext.Action = closeAction
	it, err := l.encode(&m)
	if err != nil {
		l.node.gaveUp(l.name, 0, err)
		return nil
	}
	if l.log != nil {
		it.Log = endLog{}
	}
	return it
}

// callRemoteLeave runs a handler for a member of another node.
func (ch *Channel) callRemoteLeave(h *registered[*LeaveContext], d departure) {
	n := ch.link.node
	ctx := &LeaveContext{stdContext: context.WithoutCancel(n.run), member: d.member, reason: d.reason}
	h.call(ctx, func(f *failure) {
		if f.hidden() {
			f.log(ctx, n.pond, "pond: handler failed", slog.String("channel", ch.name), slog.String("user", d.member.remote.id))
		}
	})
}
