package channel_test

import (
	"net/http/httptest"
	"testing"

	"github.com/pondsocket/pond/internal/suite/kit"
)

// A closed channel has no members and no presence.
func TestClosedChannelHasNoPresence(t *testing.T) {
	p, e, _ := kit.NewPond()
	server := httptest.NewServer(p)
	defer server.Close()
	conn, err := kit.Joined(server.Listener.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, ok := e.Channel("/chat/1")
	if !ok {
		t.Fatal("no channel")
	}
	for u := range ch.Users() {
		if err := ch.Track(u.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	ch.Close("")
	for id := range ch.Presence() {
		t.Errorf("%s is not removed", id)
	}
}
