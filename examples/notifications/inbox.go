package main

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

const kept = 20 // notifications per user

// A Notification is a notification for one user.
type Notification struct {
	ID   int    `json:"id"`
	From string `json:"from"`
	Text string `json:"text"`
	At   int64  `json:"at"` // in milliseconds since 1970
	Read bool   `json:"read"`
}

// An Inbox is sent to a tab when it opens.
type Inbox struct {
	Notifications []Notification `json:"notifications"` // oldest first
}

// A Seen is sent when a notification was read in a tab.
type Seen struct {
	ID int `json:"id"`
}

const (
	inbox    pond.Event[Inbox]        = "inbox"
	notified pond.Event[Notification] = "notification"
	read     pond.Event[Seen]         = "read"
)

// Inboxes store the notifications of users and send them to open tabs. The tabs of a user
// are the members of one channel.
type Inboxes struct {
	endpoint *pond.Endpoint
	users    *pond.Lobby
	sessions *Sessions

	mu   sync.Mutex                // guards the following fields, and orders joins, pushes and closing
	all  map[string][]Notification // by user
	last int                       // ID
}

func newInboxes(p *pond.Pond, sessions *Sessions) *Inboxes {
	in := &Inboxes{sessions: sessions, all: map[string][]Notification{}}
	in.endpoint = p.Endpoint("/socket", in.onConnect)
	in.users = in.endpoint.Lobby("/users/:name", in.onJoin)
	pond.On(in.users, read, in.onRead)
	return in
}

func (in *Inboxes) onConnect(ctx *pond.ConnectionContext) error {
	secret, user, ok := in.sessions.Of(ctx.Request())
	if !ok {
		return ctx.Decline(http.StatusUnauthorized, "log in first")
	}
	if err := ctx.Identify(user); err != nil {
		return err
	}
	ctx.Assign("session", secret)
	return ctx.Accept()
}

// onJoin allows a user to join only their own channel. It checks the session again, because
// it may have ended since the tab connected. The lock ensures two things: CloseTabs finds
// the tab if the session ends now, and no notification is pushed between Accept and the
// inbox, so the tab receives each notification once. Sending only queues and does not block.
func (in *Inboxes) onJoin(ctx *pond.JoinContext) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	secret, _ := ctx.Get("session").(string)
	user := ctx.User().Identity()
	if _, ok := in.sessions.User(secret); !ok {
		return ctx.Decline(http.StatusUnauthorized, "log in again")
	}
	if ctx.Param("name") != user {
		return ctx.Decline(http.StatusForbidden, "this channel belongs to another user")
	}
	if err := ctx.Accept(); err != nil {
		return err
	}
	return ctx.Reply(inbox.With(Inbox{in.all[user]}))
}

// channel returns the channel of a user, unless the user has no open tab.
func (in *Inboxes) channel(user string) (*pond.Channel, bool) {
	name, err := in.users.ChannelName("name", user) // the same as encodeURIComponent in the page
	if err != nil {
		return nil, false // no client can join it
	}
	return in.endpoint.Channel(name)
}

// Notify notifies a user. It may be called from anywhere in the program. It returns the
// number of open tabs. If there are none, the next tab receives the notification.
func (in *Inboxes) Notify(user, from, text string) (tabs int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.last++
	n := Notification{ID: in.last, From: from, Text: text, At: time.Now().UnixMilli()}
	all := append(in.all[user], n)
	in.all[user] = slices.Delete(all, 0, max(0, len(all)-kept))
	ch, ok := in.channel(user)
	if !ok || ch.Broadcast(notified.With(n)) != nil {
		return 0
	}
	return ch.Len()
}

// onRead is called for one tab, and notifies all tabs of the user.
func (in *Inboxes) onRead(ctx *pond.EventContext, seen Seen) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := in.all[ctx.User().Identity()]
	i := slices.IndexFunc(all, func(n Notification) bool { return n.ID == seen.ID })
	if i < 0 {
		return pond.Errorf(http.StatusNotFound, "notification not found")
	}
	all[i].Read = true
	return ctx.Broadcast(read.With(seen))
}

// CloseTabs disconnects the tabs of a session that ended. Tabs of other sessions of the user
// stay open: [pond.Endpoint.DisconnectIdentity] would disconnect them, too.
func (in *Inboxes) CloseTabs(secret, user string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	ch, ok := in.channel(user)
	if !ok {
		return
	}
	for tab := range ch.Users() {
		if tab.Get("session") == secret {
			_ = in.endpoint.Disconnect(tab.ID, http.StatusUnauthorized, "logged out") // fails if the tab just disconnected
		}
	}
}
