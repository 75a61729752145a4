package cluster

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// A Claim says that a user is connected to a node, with the state of the user.
type Claim struct {
	Node      string
	Firsthand bool // the node reported its own user
	At        time.Time

	Assigns  map[string]json.RawMessage
	Presence json.RawMessage // nil if the user is not tracked
	Identity string
}

// Members are the users of a channel on other nodes. A user has a claim of its node.
// There are several claims only if nodes have the same user ID for different users;
// then the last one is valid. A server that reports users of other nodes may be wrong
// about their node, so its claim is valid only until a node claims the user as its own.
//
// The zero value has no users. Members are not safe for concurrent use.
type Members struct {
	users map[string][]Claim             // by user
	nodes map[string]map[string]struct{} // users by node
}

// maxMembers limits the users of other nodes in one channel.
const maxMembers = 1 << 20

// Put adds the claim of a node about a user, and replaces its previous one. It returns
// whether the new claim is valid.
func (m *Members) Put(user string, c Claim) bool {
	claims := m.users[user]
	i := slices.IndexFunc(claims, func(other Claim) bool { return other.Node == c.Node })
	switch {
	case i >= 0:
		c.Firsthand = c.Firsthand || claims[i].Firsthand
		claims[i] = c
	case !c.Firsthand && len(claims) > 0:
		return false
	case len(claims) == 0 && len(m.users) >= maxMembers:
		return false
	default:
		claims = append(slices.Clip(claims), c)
	}
	if c.Firsthand {
		claims = slices.DeleteFunc(slices.Clone(claims), func(other Claim) bool {
			if !other.Firsthand {
				m.unindex(user, other.Node)
			}
			return !other.Firsthand
		})
	}
	if m.users == nil {
		m.users, m.nodes = map[string][]Claim{}, map[string]map[string]struct{}{}
	}
	m.users[user] = claims
	if m.nodes[c.Node] == nil {
		m.nodes[c.Node] = map[string]struct{}{}
	}
	m.nodes[c.Node][user] = struct{}{}
	return true
}

// Get returns the valid claim about a user.
func (m *Members) Get(user string) (Claim, bool) {
	claims := m.users[user]
	if len(claims) == 0 {
		return Claim{}, false
	}
	return claims[len(claims)-1], true
}

// From returns the claim of a node about a user.
func (m *Members) From(node, user string) (Claim, bool) {
	for _, c := range m.users[user] {
		if c.Node == node {
			return c, true
		}
	}
	return Claim{}, false
}

// Remove removes a user of a node, or a user that another server attributed to a wrong
// node. It returns whether there was one.
func (m *Members) Remove(node, user string) bool {
	return m.remove(user, func(c Claim) bool { return c.Node == node || !c.Firsthand })
}

func (m *Members) remove(user string, match func(Claim) bool) (removed bool) {
	claims := slices.DeleteFunc(slices.Clone(m.users[user]), func(c Claim) bool {
		if match(c) {
			m.unindex(user, c.Node)
			removed = true
			return true
		}
		return false
	})
	if len(claims) == 0 {
		delete(m.users, user)
	} else {
		m.users[user] = claims
	}
	return removed
}

func (m *Members) unindex(user, node string) {
	users := m.nodes[node]
	delete(users, user)
	if len(users) == 0 {
		delete(m.nodes, node)
	}
}

// RemoveNode removes the users of a node and returns them. In doubt, it returns users
// of other nodes that the node only reported, and does not remove them.
func (m *Members) RemoveNode(node string) (removed, doubt []string) {
	for _, user := range m.Of(node) {
		if c, _ := m.From(node, user); !c.Firsthand {
			doubt = append(doubt, user)
			continue
		}
		m.remove(user, func(c Claim) bool { return c.Node == node })
		removed = append(removed, user)
	}
	return removed, doubt
}

// RemoveDoubted removes users that a node only reported, if no other node has claimed
// them as its own since. It returns the removed ones.
func (m *Members) RemoveDoubted(node string, users []string) (removed []string) {
	for _, user := range users {
		if m.remove(user, func(c Claim) bool { return c.Node == node && !c.Firsthand }) {
			removed = append(removed, user)
		}
	}
	return removed
}

// Retain removes the users of a node that are not among these, and returns them.
func (m *Members) Retain(node string, users map[string]struct{}) (removed []string) {
	for _, user := range m.Of(node) {
		if _, ok := users[user]; ok {
			continue
		}
		m.remove(user, func(c Claim) bool { return c.Node == node })
		removed = append(removed, user)
	}
	return removed
}

// Since returns the users of a node whose claims are not older than a time.
func (m *Members) Since(node string, at time.Time) map[string]struct{} {
	users := map[string]struct{}{}
	for user := range m.nodes[node] {
		if c, _ := m.From(node, user); !c.At.Before(at) {
			users[user] = struct{}{}
		}
	}
	return users
}

// Of returns the users of a node, sorted.
func (m *Members) Of(node string) []string { return slices.Sorted(maps.Keys(m.nodes[node])) }

// Nodes returns the nodes that have users, sorted.
func (m *Members) Nodes() []string { return slices.Sorted(maps.Keys(m.nodes)) }

// Len returns the number of users.
func (m *Members) Len() int { return len(m.users) }
