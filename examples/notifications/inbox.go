package main

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

const kept = 20 // notifications of each user

// A Notification is for one user.
type Notification struct {
	ID   int    `json:"id"`
	From string `json:"from"`
	Text string `json:"text"`
	At   int64  `json:"at"` // in milliseconds since 1970
	Read bool   `json:"read"`
}

// An Inbox is what a tab shows when it opens.
type Inbox struct {
	Notifications []Notification `json:"notifications"` // the oldest first
}

// A Seen says that a notification has been read, in some tab.
type Seen struct {
	ID int `json:"id"`
}

const (
	inbox    pond.Event[Inbox]        = "inbox"
	notified pond.Event[Notification] = "notification"
	read     pond.Event[Seen]         = "read"
)

// Inboxes keep what users are told, and tell it to the tabs that are open. A
// user's tabs are the members of one channel, "/users/" and the name.
type Inboxes struct {
	endpoint *pond.Endpoint
	sessions *Sessions

	mu   sync.Mutex                // guards the following fields, and orders joins, pushes and hanging up
	all  map[string][]Notification // by user
	last int                       // ID
}

func newInboxes(p *pond.Pond, sessions *Sessions) *Inboxes {
	in := &Inboxes{sessions: sessions, all: map[string][]Notification{}}
	in.endpoint = p.Endpoint("/socket", in.onConnect)
	users := in.endpoint.Lobby("/users/:name", in.onJoin)
	pond.On(users, read, in.onRead)
	return in
}

func (in *Inboxes) onConnect(ctx *pond.ConnectionContext) error {
	secret, _, ok := in.sessions.Of(ctx.Request())
	if !ok {
		return ctx.Decline(http.StatusUnauthorized, "log in first")
	}
	ctx.Assign("session", secret)
	return ctx.Accept()
}

// onJoin lets users into their own channel only. It asks for the session again:
// it may have ended since the tab connected. With the lock, neither can a session
// end meanwhile without HangUp finding its tab, nor can anything be pushed between
// Accept and the inbox: the tab gets each notification once. Sending queues and
// waits for nobody.
func (in *Inboxes) onJoin(ctx *pond.JoinContext) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	secret, _ := ctx.Get("session").(string)
	name := ctx.Channel().Param("name")
	user, ok := in.sessions.User(secret)
	switch {
	case !ok:
		return ctx.Decline(http.StatusUnauthorized, "log in again")
	case user != name:
		return ctx.Decline(http.StatusForbidden, "this is somebody else's")
	}
	if err := ctx.Accept(); err != nil {
		return err
	}
	return ctx.Reply(inbox.With(Inbox{in.all[name]}))
}

// Notify is for the rest of the program: it may be called from anywhere. It
// returns how many tabs are told. If there are none, the next one will be.
func (in *Inboxes) Notify(user, from, text string) (tabs int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.last++
	n := Notification{ID: in.last, From: from, Text: text, At: time.Now().UnixMilli()}
	all := append(in.all[user], n)
	in.all[user] = slices.Delete(all, 0, max(0, len(all)-kept))
	ch, ok := in.endpoint.Channel("/users/" + user) // is live, or not there
	if !ok || ch.Broadcast(notified.With(n)) != nil {
		return 0
	}
	return ch.Len()
}

// onRead is told by one tab, and tells all of the user's tabs.
func (in *Inboxes) onRead(ctx *pond.EventContext, seen Seen) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := in.all[ctx.Channel().Param("name")]
	i := slices.IndexFunc(all, func(n Notification) bool { return n.ID == seen.ID })
	if i < 0 {
		return pond.Errorf(http.StatusNotFound, "there is no such notification")
	}
	all[i].Read = true
	return ctx.Broadcast(read.With(seen))
}

// HangUp disconnects the tabs of a session that has ended.
func (in *Inboxes) HangUp(secret, user string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	ch, ok := in.endpoint.Channel("/users/" + user)
	if !ok {
		return
	}
	for tab := range ch.Users() {
		if tab.Get("session") == secret {
			_ = in.endpoint.Disconnect(tab.ID, http.StatusUnauthorized, "logged out") // unless it has gone just now
		}
	}
}
