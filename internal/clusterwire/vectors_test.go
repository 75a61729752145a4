package clusterwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A vector is one entry of testdata/vectors-distributed.json: messages that servers of
// other runtimes sent or accepted, and the required behaviour of pond nodes.
type vector struct {
	Name         string
	JSON         json.RawMessage
	Raw          *string
	Topic        string
	EndpointName *string
	Expect       map[string]string
	Runtimes     []string
	Before       json.RawMessage
	After        map[string]json.RawMessage
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors-distributed.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors
}

// message returns the bytes of the vector's message.
func (v *vector) message() []byte {
	if v.Raw != nil {
		return []byte(*v.Raw)
	}
	return v.JSON
}

// TestVectors executes every vector. The numbers ensure that none is omitted.
func TestVectors(t *testing.T) {
	kinds := map[string]func(*testing.T, *vector){
		"captured":  testForeign,
		"derived":   testForeign,
		"synthetic": testContaminated,
		"canonical": testCanonical,
		"accept":    testAccept,
		"semantics": testSemantics,
		"topic":     testTopic,
		"subscribe": testSubscribe,
	}
	counts := map[string]int{}
	for _, v := range readVectors(t) {
		kind, _, _ := strings.Cut(v.Name, "/")
		run := kinds[kind]
		if run == nil {
			t.Errorf("%s: nothing executes this kind", v.Name)
			continue
		}
		if t.Run(v.Name, func(t *testing.T) { run(t, &v) }) {
			counts[kind]++
		}
	}
	want := map[string]int{
		"captured": 61, "derived": 15, "synthetic": 1, "canonical": 17,
		"accept": 41, "semantics": 4, "topic": 16, "subscribe": 5,
	}
	if !maps.Equal(counts, want) {
		t.Errorf("executed %v, want %v", counts, want)
	}
}

// fields returns the members of the vector's message.
func fields(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// str returns a string member, and "" if it is absent.
func str(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

// decodeVector decodes a message with its own endpoint and channel as the expected
// names.
func decodeVector(t *testing.T, data []byte) (Message, error) {
	t.Helper()
	m := fields(t, data)
	return Decode(data, str(m, "endpointName"), str(m, "channelName"), DefaultLimits)
}

// wantMessage checks each field of a decoded message against the members in want.
func wantMessage(t *testing.T, m *Message, want map[string]any) {
	t.Helper()
	for name, got := range map[string]string{
		"type": string(m.Type), "messageId": m.ID, "sourceNodeId": m.Source, "endpointName": m.Endpoint,
		"channelName": m.Channel, "fromUserId": m.From, "event": m.Event, "requestId": m.RequestID,
		"reason": m.Reason, "fromNode": m.FromNode, "nodeId": m.Node, "userId": m.User,
	} {
		if got != str(want, name) {
			t.Errorf("%s: %q, want %q", name, got, str(want, name))
		}
	}
	if at, _ := want["timestamp"].(float64); m.Timestamp != int64(at) {
		t.Errorf("timestamp: %d, want %v", m.Timestamp, want["timestamp"])
	}
	uses := func(types ...Type) bool { return slices.Contains(types, m.Type) }
	if uses(UserJoined, UserGetResponse, AssignsUpdate) {
		wantJSON(t, "assigns", m.Assigns, orEmpty(want["assigns"]))
	}
	if uses(UserJoined, UserGetResponse, PresenceUpdate) {
		wantJSON(t, "presence", m.Presence, orEmpty(want["presence"]))
	}
	if uses(UserMessage) {
		wantJSON(t, "payload", m.Payload, orEmpty(want["payload"]))
		wantRecipients(t, m.Recipients, want["recipientDescriptor"])
	}
	users, _ := want["users"].([]any)
	if uses(StateResponse) && len(m.Users) != len(users) {
		t.Fatalf("%d users, want %d", len(m.Users), len(users))
	}
	for i, u := range m.Users {
		user := users[i].(map[string]any)
		if u.ID != str(user, "id") {
			t.Errorf("user %d: %q, want %q", i, u.ID, str(user, "id"))
		}
		wantJSON(t, "assigns of "+u.ID, u.Assigns, orEmpty(user["assigns"]))
		wantJSON(t, "presence of "+u.ID, u.Presence, orEmpty(user["presence"]))
	}
}

func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}

func wantJSON(t *testing.T, what string, got []byte, want any) {
	t.Helper()
	var v any
	if err := json.Unmarshal(got, &v); err != nil {
		t.Errorf("%s: %q: %v", what, got, err)
	} else if !reflect.DeepEqual(v, want) {
		t.Errorf("%s: %s, want %v", what, got, want)
	}
}

func wantRecipients(t *testing.T, got Recipients, want any) {
	t.Helper()
	switch want := want.(type) {
	case string:
		if name := map[Audience]string{AllUsers: allUsers, AllExceptSender: allExceptSender}[got.To]; name != want {
			t.Errorf("recipients %v, want %q", got, want)
		}
	case []any:
		ids := make([]any, len(got.IDs))
		for i, id := range got.IDs {
			ids[i] = id
		}
		if got.To != Listed || !reflect.DeepEqual(ids, want) {
			t.Errorf("recipients %v, want %v", got, want)
		}
	default:
		t.Errorf("recipients %v", want)
	}
}

// Messages of other servers have the same meaning as there. One of them must be
// dropped: it crashes a JavaScript process.
func testForeign(t *testing.T, v *vector) {
	want := fields(t, v.JSON)
	for _, data := range [][]byte{v.message(), v.JSON} {
		m, err := decodeVector(t, data)
		if v.Name == "captured/go/user-message-no-event" {
			if !errors.Is(err, BadEvent) {
				t.Errorf("error %v, want %v", err, BadEvent)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantMessage(t, &m, want)
	}
	if v.Topic == "" {
		return
	}
	topic := Topic(str(want, "endpointName"), str(want, "channelName"))
	if str(want, "type") == string(NodeHeartbeat) {
		topic = Heartbeat
	}
	// One process was configured with a channel that it never names in the topic.
	if full := FullTopic("pondsocket", "default", topic); full != v.Topic {
		t.Errorf("topic %q, want %q", full, v.Topic)
	}
}

// A JavaScript server answers with users of other nodes.
func testContaminated(t *testing.T, v *vector) {
	m, err := decodeVector(t, v.message())
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, &m, fields(t, v.JSON))
	if IsFirsthand(m.Source) {
		t.Errorf("the users are those of %q, want hearsay", m.Source)
	}
}

// Encoded messages are equal to the specification, member by member.
func testCanonical(t *testing.T, v *vector) {
	m, err := decodeVector(t, v.JSON)
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, &m, fields(t, v.JSON))
	data, err := Append([]byte("before"), &m)
	if err != nil {
		t.Fatal(err)
	}
	data, ok := bytes.CutPrefix(data, []byte("before"))
	if !ok || !IsFrom(data, m.Source) || IsFrom(data, m.Source[1:]) || IsFrom(data, m.Source+"0") {
		t.Errorf("%s", data)
	}
	if got, want := fields(t, data), fields(t, v.JSON); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// An injected message is delivered or dropped.
func testAccept(t *testing.T, v *vector) {
	messages := [][]byte{v.message()}
	if v.Name == "accept/duplicate" {
		var both []json.RawMessage
		if err := json.Unmarshal(v.JSON, &both); err != nil {
			t.Fatal(err)
		}
		messages = [][]byte{both[0], both[1]}
	}
	var recent Recent
	delivered := 0
	for _, data := range messages {
		m, err := Decode(data, "api/socket", "/chat/1", DefaultLimits)
		if err == nil && recent.Add(&m, time.Now()) {
			delivered++
			wantMessage(t, &m, fields(t, data))
		}
	}
	want := map[string]int{"drop": 0, "deliver": 1, "deliver with {}": 1, "deliver once": 1}
	if n, ok := want[v.Expect["ours"]]; !ok || delivered != n {
		t.Errorf("delivered %d times, want %q", delivered, v.Expect["ours"])
	}
}

// A change of assigns has the same result as on the JavaScript server.
func testSemantics(t *testing.T, v *vector) {
	m, err := decodeVector(t, v.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]json.RawMessage
	if err := json.Unmarshal(v.Before, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(v.After["ours"], &after); err != nil {
		t.Fatal(err)
	}
	old := maps.Clone(before)
	if got := m.ApplyAssigns(before); !reflect.DeepEqual(got, after) {
		t.Errorf("%s, want %s", got, after)
	}
	if !reflect.DeepEqual(before, old) {
		t.Errorf("the old assigns are now %s", before)
	}
}

// Topics have the form of the JavaScript server. Two channels may have the same topic;
// then a message for one is not accepted for the other.
func testTopic(t *testing.T, v *vector) {
	m := fields(t, v.JSON)
	path, channel := str(m, "endpointPath"), str(m, "channelName")
	endpoint := EndpointName(path)
	var topic string
	switch {
	case path == Heartbeat:
		topic = Heartbeat
	case v.Runtimes != nil && !slices.Contains(v.Runtimes, "js"):
		// Go and Python strip one slash only; such endpoints have no common topic.
		if endpoint == *v.EndpointName {
			t.Errorf("endpoint %q, want another one than Go and Python", endpoint)
		}
		return
	default:
		topic = Topic(endpoint, channel)
	}
	if full := FullTopic(str(m, "prefix"), str(m, "namespace"), topic); full != str(m, "topic") {
		t.Errorf("topic %q, want %q", full, str(m, "topic"))
	}
	if v.EndpointName != nil && endpoint != *v.EndpointName {
		t.Errorf("endpoint %q, want %q", endpoint, *v.EndpointName)
	}
	if v.Name == "topic/collision-1" {
		other := message(UserLeft)
		other.Endpoint, other.Channel = "api/:v/socket", "/chat/1"
		if Topic(other.Endpoint, other.Channel) != topic {
			t.Fatal("no collision")
		}
		data, _ := Append(nil, &other)
		if _, err := Decode(data, endpoint, channel, DefaultLimits); !errors.Is(err, BadTopic) {
			t.Errorf("error %v, want %v", err, BadTopic)
		}
	}
}

// Nodes subscribe to topics by exact name, like the JavaScript server, so names need no
// escapes.
func testSubscribe(t *testing.T, v *vector) {
	var s struct {
		Topic string
		JS    []string
	}
	if err := json.Unmarshal(v.JSON, &s); err != nil {
		t.Fatal(err)
	}
	channel, ok := strings.CutPrefix(s.Topic, "pondsocket:v1:default:api/socket:")
	if !ok {
		t.Fatalf("topic %q", s.Topic)
	}
	full := FullTopic("pondsocket", "default", Topic("api/socket", channel))
	if want := []string{"SUBSCRIBE", full}; !slices.Equal(s.JS, want) {
		t.Errorf("%q, want %q", s.JS, want)
	}
}
