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

// A Room is the state of one channel.
type Room struct {
	mu    sync.Mutex
	owner string // a user ID, or "" if nobody is left
}

// onFirstJoin runs once before the channel gets its first member.
func onFirstJoin(ctx *pond.JoinContext) error {
	ctx.Channel().SetState(&Room{})
	return nil
}

// onJoin accepts the member, and makes it the owner if the room has none. Clients that join
// at the same time find the same room.
func onJoin(ctx *pond.JoinContext) error {
	if err := ctx.Accept(); err != nil {
		return err
	}
	room := ctx.Channel().State().(*Room)
	room.mu.Lock()
	defer room.mu.Unlock()
	if room.owner == "" {
		room.setOwner(ctx.Channel(), ctx.User().ID)
	}
	return nil
}

// onLeave passes the ownership on. It runs once per membership, even if the connection was
// lost.
func onLeave(ctx *pond.LeaveContext) error {
	room := ctx.Channel().State().(*Room)
	room.mu.Lock()
	defer room.mu.Unlock()
	if room.owner != ctx.User().ID {
		return nil
	}
	room.owner = ""
	for u := range ctx.Channel().Users() {
		if room.setOwner(ctx.Channel(), u.ID) {
			break
		}
	}
	return nil
}

// setOwner reports whether the member is the owner now: it may have left already. It must be
// called with the lock held.
func (r *Room) setOwner(ch *pond.Channel, id string) bool {
	if ch.Assign(id, "role", "owner") != nil {
		return false
	}
	r.owner = id
	return true
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
	lobby := endpoint.Lobby("/rooms/:room", onJoin)
	lobby.OnFirstJoin(onFirstJoin)
	lobby.OnLeave(onLeave)
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
