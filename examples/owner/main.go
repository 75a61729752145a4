// Owner gives each room exactly one owner: the first member and, when it leaves, one of the
// remaining members.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/pondsocket/pond"
)

// Owners has the owner of each room: a user ID, by channel. A channel is a safe key, because
// a channel that ends and a new one with the same name are different channels.
type Owners struct {
	mu sync.Mutex
	of map[*pond.Channel]string
}

// onJoin accepts the member, and makes it the owner if the room has none. Without the lock,
// two clients that join at the same time could both find a room without an owner.
func (o *Owners) onJoin(ctx *pond.JoinContext) error {
	if err := ctx.Accept(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[ctx.Channel()] == "" {
		_ = o.set(ctx.Channel(), ctx.User().ID) // fails if the member already left
	}
	return nil
}

// onLeave passes the ownership on. It runs once per membership, even if the connection was
// lost.
func (o *Owners) onLeave(ctx *pond.LeaveContext) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	ch := ctx.Channel()
	if o.of[ch] != ctx.User().ID {
		return nil
	}
	delete(o.of, ch)
	for u := range ch.Users() {
		if o.set(ch, u.ID) == nil { // fails if u already left
			break
		}
	}
	return nil
}

// set must be called with the lock held.
func (o *Owners) set(ch *pond.Channel, id string) error {
	if err := ch.Assign(id, "role", "owner"); err != nil {
		return err
	}
	o.of[ch] = id
	return nil
}

func rename(ctx *pond.EventContext) error {
	if ctx.Get("role") != "owner" {
		return pond.Errorf(http.StatusForbidden, "only the owner may rename the room")
	}
	return ctx.Broadcast("renamed", ctx.Payload())
}

func rooms() *pond.Pond {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	owners := &Owners{of: map[*pond.Channel]string{}}
	lobby := endpoint.Lobby("/rooms/:room", owners.onJoin)
	lobby.OnLeave(owners.onLeave)
	lobby.OnMessage("rename", rename)
	return p
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rooms().ListenAndServe(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
