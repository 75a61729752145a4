package cluster

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"time"
)

// A Key signs the connection IDs of a node's event streams. The other nodes check the
// signature, so they forward no request with an invented ID.
type Key string

const (
	keyBytes = 32
	macBytes = 16
)

// NewKey returns a random key.
func NewKey() Key {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return Key(base64.RawURLEncoding.EncodeToString(key))
}

// StreamID returns the connection ID of an event stream: its secret, the mark of its
// node, and a signature of both and of the endpoint. Neither of the first two may
// contain a dot.
func (k Key) StreamID(endpoint, secret, mark string) string {
	signed := secret + "." + mark
	return signed + "." + k.sign(endpoint, signed)
}

func (k Key) sign(endpoint, signed string) string {
	mac := hmac.New(sha256.New, []byte(k))
	_, _ = mac.Write([]byte(endpoint + "\x00" + signed)) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:macBytes])
}

// Signed reports whether the key signed a connection ID for an endpoint.
func (k Key) Signed(endpoint, id string) bool {
	end := strings.LastIndexByte(id, '.')
	return end >= 0 && hmac.Equal([]byte(id[end+1:]), []byte(k.sign(endpoint, id[:end])))
}

// StreamMark returns the mark of the node in a connection ID, and "" if it has none.
func StreamMark(id string) string {
	secret, rest, _ := strings.Cut(id, ".")
	mark, mac, ok := strings.Cut(rest, ".")
	if !ok || secret == "" || mac == "" {
		return ""
	}
	return mark
}

// A Peer is another node to which requests can be forwarded.
type Peer struct {
	Node   string
	Key    Key
	Failed time.Time // when it did not answer a request, and nothing else arrived from it
}

// Peers are the nodes to which requests can be forwarded, by the marks in the connection
// IDs of their event streams. A node asks the others to introduce themselves when it
// starts, and when it may have missed messages. Soon after it received its own request,
// it knows all of them. The zero value is ready for use, and its methods are safe for
// concurrent use.
type Peers struct {
	mu       sync.Mutex // guards the following fields
	peers    map[string]Peer
	complete time.Time     // when all are known; zero before the node received its own request
	changed  chan struct{} // closed at the next change; nil while no goroutine waits
}

// maxPeers limits the table.
const maxPeers = 1 << 14

// Add adds or replaces a peer.
func (p *Peers) Add(mark, node string, key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.peers[mark]
	if ok && old.Node == node && old.Key == key || !ok && len(p.peers) >= maxPeers || mark == "" || key == "" {
		return
	}
	if p.peers == nil {
		p.peers = map[string]Peer{}
	}
	p.peers[mark] = Peer{Node: node, Key: key}
	p.wakeLocked()
}

// Remove removes the peers with these node IDs.
func (p *Peers) Remove(nodes ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for mark, peer := range p.peers {
		for _, node := range nodes {
			if peer.Node == node {
				delete(p.peers, mark)
			}
		}
	}
	p.wakeLocked()
}

// Fail records that a peer did not answer.
func (p *Peers) Fail(mark string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer, ok := p.peers[mark]; ok {
		peer.Failed = now
		p.peers[mark] = peer
	}
}

// Find returns the peer with this mark. If there is none, complete is the time from which
// on the mark is known to belong to no node. It is zero if that time is not known.
// changed is closed at the next change.
func (p *Peers) Find(mark string) (peer Peer, ok bool, complete time.Time, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer, ok = p.peers[mark]; ok {
		return peer, true, time.Time{}, nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return Peer{}, false, p.complete, p.changed
}

// Complete sets when all peers are known, or that this is not known any more.
func (p *Peers) Complete(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complete = at
	p.wakeLocked()
}

// Asking reports whether the node has not received its own request to introduce
// themselves yet.
func (p *Peers) Asking() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complete.IsZero()
}

// Wake wakes the goroutines that wait for a change.
func (p *Peers) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakeLocked()
}

func (p *Peers) wakeLocked() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}
