package cluster_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/redisbroker"
)

const room = "/chat/1"

// of matches a message of a type about a user, or about none.
func of(typ clusterwire.Type, user string) func(tapped) bool {
	return func(m tapped) bool { return m.Type == typ && m.User == user }
}

// said matches a message with a text.
func said(s string) func(tapped) bool {
	return func(m tapped) bool {
		return m.Type == clusterwire.UserMessage && string(m.Payload) == `{"text":"`+s+`"}`
	}
}

// Two nodes in Python exchange everything that they can. Each of their messages decodes,
// to what happened.
func TestPythonIsUnderstood(t *testing.T) {
	interpreter(t)
	redis := startRedis(t)
	tp := startTap(t, redis)
	first, _ := startPython(t, redis, time.Minute)
	second, _ := startPython(t, redis, time.Minute)

	ann := join(t, first, room, map[string]any{"role": "admin", "status": "online"})
	if m := tp.await(t, "USER_JOINED", of(clusterwire.UserJoined, ann.id())); string(m.Assigns) != `{"role":"admin"}` {
		t.Errorf("joined: %s", m.text)
	}
	if m := tp.await(t, "PRESENCE_UPDATE", of(clusterwire.PresenceUpdate, ann.id())); string(m.Presence) != `{"status":"online"}` {
		t.Errorf("tracked: %s", m.text)
	}
	bob := join(t, second, room, map[string]any{"status": "online"})
	tp.await(t, "STATE_REQUEST", func(m tapped) bool { return m.Type == clusterwire.StateRequest })
	state := tp.await(t, "STATE_RESPONSE", func(m tapped) bool { return m.Type == clusterwire.StateResponse })
	if len(state.Users) != 1 || state.Users[0].ID != ann.id() || string(state.Users[0].Assigns) != `{"role":"admin"}` ||
		string(state.Users[0].Presence) != `{"status":"online"}` || !clusterwire.IsFirsthand(state.Source) {
		t.Errorf("state: %s", state.text)
	}
	bob.awaitKnown(ann.id(), known{`{"role":"admin"}`, `{"status":"online"}`})

	ann.send("say", text("to all"))
	ann.send("others", text("to others"))
	ann.send("whisper", map[string]any{"text": "to bob", "to": []string{bob.id()}})
	for what, want := range map[string]clusterwire.Recipients{
		"to all":    {To: clusterwire.AllUsers},
		"to others": {To: clusterwire.AllExceptSender},
		"to bob":    {To: clusterwire.Listed, IDs: []string{bob.id()}},
	} {
		m := tp.await(t, what, said(what))
		if m.Event != "said" || m.RequestID == "" || m.Recipients.To != want.To || !slices.Equal(m.Recipients.IDs, want.IDs) ||
			m.Recipients.To == clusterwire.AllExceptSender && m.From != ann.id() {
			t.Errorf("%s: %s", what, m.text)
		}
	}
	bob.hears("to all", "to others", "to bob")

	ann.send("status", map[string]string{"status": "busy"})
	tp.await(t, "the change of presence", func(m tapped) bool {
		return of(clusterwire.PresenceUpdate, ann.id())(m) && string(m.Presence) == `{"status":"busy"}`
	})
	ann.send("assign", map[string]int{"level": 7})
	if m := tp.await(t, "ASSIGNS_UPDATE", of(clusterwire.AssignsUpdate, ann.id())); string(m.Assigns) != `{"role":"admin","level":7}` {
		t.Errorf("assigned: %s", m.text)
	}
	if _, err := bob.Request(limited(t), "find", map[string]string{"id": ann.id()}); err != nil {
		t.Error(err)
	}
	ann.send("hide", nil)
	tp.await(t, "PRESENCE_REMOVED", of(clusterwire.PresenceRemoved, ann.id()))
	ann.send("evict", map[string]string{"id": bob.id(), "reason": "spam"})
	if m := tp.await(t, "EVICT_USER", of(clusterwire.EvictUser, bob.id())); m.Reason != "spam" {
		t.Errorf("evicted: %s", m.text)
	}
	tp.await(t, "USER_LEFT", of(clusterwire.UserLeft, bob.id()))
	if err := ann.Leave(limited(t)); err != nil {
		t.Error(err)
	}
	tp.await(t, "USER_LEFT", of(clusterwire.UserLeft, ann.id()))
	tp.await(t, "NODE_HEARTBEAT", func(m tapped) bool { return m.Type == clusterwire.NodeHeartbeat && m.Node == m.Source })

	counts := map[clusterwire.Type]int{}
	for _, m := range tp.all() {
		if m.err != nil || m.ID == "" || m.Timestamp == 0 {
			t.Errorf("%v: %s on %s", m.err, m.text, m.topic)
		}
		counts[m.Type]++
	}
	t.Log(counts)
}

// A node in Python understands each type of message that we write.
func TestPythonUnderstands(t *testing.T) {
	interpreter(t)
	redis := startRedis(t)
	tp := startTap(t, redis)
	first, _ := startPython(t, redis, time.Minute)
	second, _ := startPython(t, redis, time.Minute)
	ann := join(t, first, room, map[string]any{"role": "admin", "status": "online"})
	bob := join(t, second, room, nil)
	b, err := redisbroker.New("redis://" + redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	eventually(t, "the connection", func() bool { return b.Health() == nil })
	n := &fake{t: t, broker: b, source: clusterwire.NewID(time.Now())}
	const guest, other = "guest of ours", "another"

	// State, in both directions.
	n.send(clusterwire.Message{Type: clusterwire.StateRequest})
	tp.await(t, "the answer to our request", func(m tapped) bool {
		return m.Type == clusterwire.StateResponse && slices.ContainsFunc(m.Users, func(u clusterwire.User) bool { return u.ID == ann.id() })
	})
	n.send(clusterwire.Message{Type: clusterwire.UserJoined, User: guest, Assigns: []byte(`{"a":1}`)})
	ann.awaitKnown(guest, known{Assigns: `{"a":1}`})
	n.send(clusterwire.Message{Type: clusterwire.StateResponse, Users: []clusterwire.User{
		{ID: guest, Assigns: []byte(`{"a":2}`), Presence: []byte(`{"status":"here"}`)}, {ID: other},
	}})
	ann.awaitKnown(guest, known{`{"a":2}`, `{"status":"here"}`})
	ann.awaitKnown(other, known{Assigns: `{}`})
	n.send(clusterwire.Message{Type: clusterwire.PresenceUpdate, User: guest, Presence: []byte(`{"status":"away"}`)})
	n.send(clusterwire.Message{Type: clusterwire.AssignsUpdate, User: guest, Assigns: []byte(`{"b":3}`)})
	ann.awaitKnown(guest, known{`{"b":3}`, `{"status":"away"}`})
	n.send(clusterwire.Message{Type: clusterwire.PresenceRemoved, User: guest})
	ann.awaitKnown(guest, known{Assigns: `{"b":3}`})
	n.send(clusterwire.Message{Type: clusterwire.UserLeft, User: other})
	ann.awaitUnknown(other)

	// Messages, with each form of recipients.
	n.say("to all", clusterwire.Recipients{To: clusterwire.AllUsers})
	n.say("to others", clusterwire.Recipients{To: clusterwire.AllExceptSender})
	n.say("to ann", clusterwire.Recipients{To: clusterwire.Listed, IDs: []string{guest, ann.id()}})
	n.say("to bob", clusterwire.Recipients{To: clusterwire.Listed, IDs: []string{bob.id()}})
	n.say("end", clusterwire.Recipients{To: clusterwire.AllUsers})
	ann.hears("to all", "to others", "to ann", "end")
	bob.hears("to all", "to others", "to bob", "end")

	// Questions and answers about one user.
	n.send(clusterwire.Message{Type: clusterwire.UserGetRequest, User: ann.id(), RequestID: "r1"})
	answer := tp.await(t, "USER_GET_RESPONSE", func(m tapped) bool { return m.Type == clusterwire.UserGetResponse && m.RequestID == "r1" })
	if answer.User != ann.id() || string(answer.Assigns) != `{"role":"admin"}` || string(answer.Presence) != `{"status":"online"}` {
		t.Errorf("answer: %s", answer.text)
	}

	n.send(clusterwire.Message{Type: clusterwire.UserJoined, User: other})
	ann.awaitKnown(other, known{Assigns: `{}`})
	ann.send("find", map[string]string{"id": other})
	asked := tp.await(t, "USER_GET_REQUEST", of(clusterwire.UserGetRequest, other))
	n.send(clusterwire.Message{Type: clusterwire.UserGetResponse, User: other, RequestID: asked.RequestID, Assigns: []byte(`{"found":true}`)})
	eventually(t, "what we answered", func() bool { return slices.Contains(ann.received("found"), `{"assigns":{"found":true},"presence":{}}`) })

	// The end of memberships. A node decides about its own users.
	n.send(clusterwire.Message{Type: clusterwire.UserRemove, User: bob.id()})
	tp.await(t, "USER_LEFT", of(clusterwire.UserLeft, bob.id()))
	n.send(clusterwire.Message{Type: clusterwire.EvictUser, User: ann.id(), Reason: "spam"})
	tp.await(t, "USER_LEFT", of(clusterwire.UserLeft, ann.id()))
	eventually(t, "the end of the membership", func() bool { return ann.ended() != nil })

	ours := map[clusterwire.Type]bool{}
	for _, m := range tp.all() {
		if m.err != nil {
			t.Errorf("%v: %s", m.err, m.text)
		}
		ours[m.Type] = ours[m.Type] || m.Source == n.source
	}
	for _, typ := range []clusterwire.Type{ // and heartbeats, in the next test
		clusterwire.StateRequest, clusterwire.StateResponse, clusterwire.UserJoined, clusterwire.UserLeft, clusterwire.UserMessage,
		clusterwire.PresenceUpdate, clusterwire.PresenceRemoved, clusterwire.AssignsUpdate, clusterwire.EvictUser,
		clusterwire.UserRemove, clusterwire.UserGetRequest, clusterwire.UserGetResponse,
	} {
		if !ours[typ] {
			t.Errorf("the test does not send %s", typ)
		}
	}
}

// The users of a node that is silent end, and those of one with heartbeats do not.
func TestPythonTimesOut(t *testing.T) {
	interpreter(t)
	redis := startRedis(t)
	const nodeTimeout = 2 * time.Second
	node, _ := startPython(t, redis, nodeTimeout)
	ann := join(t, node, room, nil)
	b, err := redisbroker.New("redis://" + redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	eventually(t, "the connection", func() bool { return b.Health() == nil })
	alive := &fake{t: t, broker: b, source: clusterwire.NewID(time.Now())}
	silent := &fake{t: t, broker: b, source: clusterwire.NewID(time.Now())}
	for _, n := range []*fake{alive, silent} {
		n.send(clusterwire.Message{Type: clusterwire.UserJoined, User: n.source})
		ann.awaitKnown(n.source, known{Assigns: `{}`})
	}
	last, pause := time.Now(), time.Duration(0) // the longest one between heartbeats, on a busy machine
	eventually(t, "the end of the silent node", func() bool {
		alive.heartbeat()
		pause = max(pause, time.Since(last))
		last = time.Now()
		members := ann.knows()
		if _, ok := members[alive.source]; !ok && pause < nodeTimeout/2 {
			t.Fatal("a node with heartbeats is taken for dead")
		}
		_, ok := members[silent.source]
		return !ok
	})
}

// A fake is a node of ours without clients.
type fake struct {
	t      *testing.T
	broker pond.Broker
	source string
}

// send publishes a message for the channel.
func (n *fake) send(m clusterwire.Message) {
	n.t.Helper()
	m.Endpoint, m.Channel = "socket", room
	n.publish(clusterwire.Topic(m.Endpoint, m.Channel), m)
}

func (n *fake) publish(topic string, m clusterwire.Message) {
	n.t.Helper()
	m.Source, m.ID, m.Timestamp = n.source, clusterwire.NewID(time.Now()), time.Now().UnixMilli()
	m.FromNode = n.source
	m.Ext = clusterwire.Ext{Boot: n.source, Seq: 1}
	data, err := clusterwire.Append(nil, &m)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.broker.Publish(limited(n.t), topic, [][]byte{data}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *fake) say(s string, to clusterwire.Recipients) {
	n.t.Helper()
	n.send(clusterwire.Message{
		Type: clusterwire.UserMessage, From: "guest of ours", Event: "said", Payload: []byte(`{"text":"` + s + `"}`),
		RequestID: clusterwire.NewID(time.Now()), Recipients: to,
	})
}

func (n *fake) heartbeat() {
	n.t.Helper()
	n.publish(clusterwire.Heartbeat, clusterwire.Message{
		Type: clusterwire.NodeHeartbeat, Endpoint: clusterwire.Heartbeat, Channel: clusterwire.Heartbeat, Node: n.source,
	})
}
