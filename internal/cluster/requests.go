package cluster

import (
	"slices"
	"sync"
	"time"
)

// A Request is a request of a node to all others to end memberships or connections. Nodes
// repeat requests for nodes that may have missed them.
type Request struct {
	ID       string `json:"id"`                // of the message that was the request
	Clock    int64  `json:"clock"`             // of the node, when it made the request, in microseconds
	Action   string `json:"action,omitempty"`  // as in the message
	Channel  string `json:"channel,omitempty"` // empty if it is about connections
	User     string `json:"user,omitempty"`
	Identity string `json:"identity,omitempty"` // in place of a user
	Code     int    `json:"code,omitempty"`     // of a request to disconnect clients
	Reason   string `json:"reason,omitempty"`
}

// size returns about how many bytes a request has in a message, and in memory.
func (r *Request) size() int {
	return requestOverhead + len(r.ID) + len(r.Channel) + len(r.User) + len(r.Identity) + len(r.Reason)
}

// Limits of [Requests].
const (
	RequestAge = time.Hour

	requestBytes    = 256 << 10
	requestOverhead = 128
	repeatPause     = 5 * time.Second // between two repetitions
)

// Requests are the requests that a node made in the last hour, if they fit into 256 KiB,
// which is enough for more than 1,000 typical ones. Otherwise, the oldest are dropped. The
// zero value is ready for use. Its methods are safe for concurrent use.
type Requests struct {
	mu    sync.Mutex // guards the following fields
	list  []madeRequest
	bytes int

	repeat bool      // they must be repeated
	ask    bool      // and the other nodes must be asked to repeat theirs
	next   time.Time // but not before this time
}

type madeRequest struct {
	Request

	at time.Time
}

// Add stores a request that is made now.
func (r *Requests) Add(request Request, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, madeRequest{request, now})
	r.bytes += request.size()
	r.dropLocked(now)
}

// dropLocked drops what exceeds a limit. The newest request stays.
func (r *Requests) dropLocked(now time.Time) {
	n := 0
	for ; n < len(r.list) && (now.Sub(r.list[n].at) > RequestAge || r.bytes > requestBytes && n < len(r.list)-1); n++ {
		r.bytes -= r.list[n].size()
	}
	r.list = slices.Delete(r.list, 0, n)
}

// RepeatSoon records that the requests must be repeated and, with ask, that the other nodes
// must be asked to repeat theirs.
func (r *Requests) RepeatSoon(ask bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repeat = true
	r.ask = r.ask || ask
}

// Due returns the requests if they must be repeated now, the oldest first, in pages of about
// so many bytes. A page has at least one request. With ask, there is at least one page.
func (r *Requests) Due(now time.Time, bytes int) (pages [][]Request, ask bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.repeat || now.Before(r.next) {
		return nil, false
	}
	ask = r.ask
	r.repeat, r.ask, r.next = false, false, now.Add(repeatPause)
	r.dropLocked(now)
	size := 0
	for i := range r.list {
		request := r.list[i].Request
		if size += request.size(); i == 0 || size > bytes {
			pages, size = append(pages, nil), request.size()
		}
		last := len(pages) - 1
		pages[last] = append(pages[last], request)
	}
	if ask && pages == nil {
		pages = [][]Request{nil}
	}
	return pages, ask
}
