package clusterwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// types are all types.
var types = []Type{
	StateRequest, StateResponse, UserJoined, UserLeft, UserMessage, PresenceUpdate, PresenceRemoved,
	AssignsUpdate, EvictUser, UserRemove, UserGetRequest, UserGetResponse, NodeHeartbeat,
}

// message returns a complete message.
func message(t Type) Message {
	m := Message{
		Type: t, ID: "m1", Source: "n1", Endpoint: "api/socket", Channel: "/chat/1", Timestamp: 1795393466272,
	}
	switch t {
	case NodeHeartbeat:
		m.Endpoint, m.Channel, m.Node = Heartbeat, Heartbeat, "n1"
	case StateRequest:
		m.FromNode = "n1"
	case StateResponse:
		m.Users = []User{{ID: "u1", Assigns: []byte(`{"a":1}`), Presence: []byte(`{}`)}}
	case UserMessage:
		m.From, m.Event, m.RequestID = "u1", "said", "r1"
		m.Payload = []byte(`{"text":"<&>\u2028"}`)
		m.Recipients.To = AllUsers
	default:
		m.User = "u1"
	}
	switch t {
	case UserJoined, UserGetResponse:
		m.Assigns, m.Presence = []byte(`{"a":1}`), []byte(`{"status":"online"}`)
	case PresenceUpdate:
		m.Presence = []byte(`{"status":"busy"}`)
	case AssignsUpdate:
		m.Assigns = []byte(`{"a":[1,2]}`)
	case EvictUser:
		m.Reason = "spam"
	}
	if t == UserGetRequest || t == UserGetResponse {
		m.RequestID = "r1"
	}
	if t == UserGetRequest {
		m.FromNode = "n1"
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	for _, typ := range types {
		for _, ext := range []Ext{
			{},
			{Boot: "b1"},
			{Boot: "b1", Except: `["u1","ü\""]`, Identities: `["ann"]`, Code: 403, Part: FirstPart | LastPart, Key: "k\"1", Clock: 1 << 53},
			{Boot: "b1", Seq: 1<<64 - 1, Events: 7, Action: "SYSTEM", Epoch: "k3", Offset: 1<<53 - 1},
		} {
			want := message(typ)
			want.Ext = ext
			data, err := Append(nil, &want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(data, want.Endpoint, want.Channel, DefaultLimits)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v; want %+v", data, got, err, want)
			}
		}
	}
}

// Names and texts of clients reach the other node unchanged.
func TestTextSurvives(t *testing.T) {
	for _, text := range []string{
		`"\/`, "\x00\x01\x1f\x7f", "\n\r\t\b\f", "<script>&</script>", "é😀\u2028\u2029\uFFFD\ufeff", strings.Repeat("x", 10_000),
	} {
		want := message(UserMessage)
		want.Channel, want.Event, want.From, want.RequestID = text, text, text, text
		want.Recipients = Recipients{To: Listed, IDs: []string{text, "u2"}}
		data, err := Append(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data, want.Endpoint, text, DefaultLimits)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	m := message(UserLeft)
	m.User = "a\xffb\xc3"
	data, _ := Append(nil, &m)
	if got, err := Decode(data, m.Endpoint, m.Channel, DefaultLimits); err != nil || got.User != "a\uFFFDb\uFFFD" {
		t.Errorf("%q, %v", got.User, err)
	}
}

// Messages that would cause a fault in another server are not encoded (rules E-1, E-2).
func TestAppendRefuses(t *testing.T) {
	change := func(typ Type, f func(*Message)) Message {
		m := message(typ)
		f(&m)
		return m
	}
	bad := map[string]Message{
		"no ID":           change(UserLeft, func(m *Message) { m.ID = "" }),
		"no source":       change(UserLeft, func(m *Message) { m.Source = "" }),
		"no timestamp":    change(UserLeft, func(m *Message) { m.Timestamp = 0 }),
		"no type":         change(UserLeft, func(m *Message) { m.Type = "" }),
		"another type":    change(UserLeft, func(m *Message) { m.Type = "user_left" }),
		"no user in list": change(StateResponse, func(m *Message) { m.Users = append(m.Users, User{}) }),
		"no event":        change(UserMessage, func(m *Message) { m.Event = "" }),
		"no sender":       change(UserMessage, func(m *Message) { m.From = "" }),
		"no request":      change(UserMessage, func(m *Message) { m.RequestID = "" }),
		"array payload":   change(UserMessage, func(m *Message) { m.Payload = []byte(`[]`) }),
		"no audience":     change(UserMessage, func(m *Message) { m.Recipients.To = 0 }),
		"empty audience":  change(UserMessage, func(m *Message) { m.Recipients.To = Listed }),
		"no node":         change(NodeHeartbeat, func(m *Message) { m.Node = "" }),
		"heartbeat":       change(NodeHeartbeat, func(m *Message) { m.Channel = "/chat/1" }),
		"from no node":    change(StateRequest, func(m *Message) { m.FromNode = "" }),
		"no question":     change(UserGetRequest, func(m *Message) { m.RequestID = "" }),
		"no answer":       change(UserGetResponse, func(m *Message) { m.RequestID = "" }),
	}
	for _, typ := range types {
		if m := message(typ); m.User != "" {
			m.User = ""
			bad["no user in "+string(typ)] = m
		}
	}
	for name, m := range bad {
		if dst, err := Append([]byte("x"), &m); err == nil || string(dst) != "x" {
			t.Errorf("%s: %s, %v", name, dst, err)
		}
	}
}

// The smallest payload, assigns and presence are objects (rule E-5).
func TestAppendFillsObjects(t *testing.T) {
	m := message(StateResponse)
	m.Users = []User{{ID: "u1"}}
	data, err := Append(nil, &m)
	if err != nil || !strings.Contains(string(data), `"users":[{"id":"u1","assigns":{},"presence":{}}]`) {
		t.Errorf("%s, %v", data, err)
	}
	m = message(UserMessage)
	m.Payload = nil
	data, err = Append(nil, &m)
	if err != nil || !strings.Contains(string(data), `"payload":{}`) {
		t.Errorf("%s, %v", data, err)
	}
}

// edit returns a message with members replaced, or deleted by a nil value.
func edit(t *testing.T, typ Type, changes map[string]any) []byte {
	t.Helper()
	m := message(typ)
	data, err := Append(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	members := fields(t, data)
	for name, value := range changes {
		members[name] = value
		if value == nil {
			delete(members, name)
		}
	}
	data, err = json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var null = json.RawMessage("null")

// Members that other servers omit, or send in another form, are accepted (section 2.3).
func TestDecodeTolerates(t *testing.T) {
	many := strings.Repeat("9", 400)
	for _, test := range []struct {
		name    string
		typ     Type
		changes map[string]any
		check   func(m *Message) bool
	}{
		{"Go, no users", StateResponse, map[string]any{"users": nil}, func(m *Message) bool { return m.Users == nil }},
		{"users is null", StateResponse, map[string]any{"users": null}, func(m *Message) bool { return m.Users == nil }},
		{
			"odd users", StateResponse,
			map[string]any{"users": []any{1, null, []any{}, map[string]any{"id": 5}, map[string]any{"id": "u1", "assigns": null, "presence": 7}}},
			func(m *Message) bool {
				return len(m.Users) == 1 && m.Users[0].ID == "u1" && string(m.Users[0].Assigns) == "{}" && string(m.Users[0].Presence) == "{}"
			},
		},
		{"Go, nil maps", UserJoined, map[string]any{"assigns": null, "presence": nil}, func(m *Message) bool {
			return string(m.Assigns) == "{}" && string(m.Presence) == "{}"
		}},
		{"Go, no reason", EvictUser, map[string]any{"reason": nil}, func(m *Message) bool { return m.Reason == "" }},
		{"Go, nil payload", UserMessage, map[string]any{"payload": nil}, func(m *Message) bool { return string(m.Payload) == "{}" }},
		{"Go, nil assigns", AssignsUpdate, map[string]any{"assigns": null}, func(m *Message) bool { return string(m.Assigns) == "{}" }},
		{"one key", AssignsUpdate, map[string]any{"assigns": nil, "key": "k", "value": null}, func(m *Message) bool {
			return m.Assigns == nil && m.Key == "k" && string(m.Value) == "null"
		}},
		{"null and a key", AssignsUpdate, map[string]any{"assigns": null, "key": "k", "value": 1}, func(m *Message) bool {
			return m.Assigns == nil && m.Key == "k" && string(m.Value) == "1"
		}},
		{"Rust, user in presence", PresenceUpdate, map[string]any{"presence": map[string]any{"userId": "u1"}}, func(m *Message) bool {
			return string(m.Presence) == `{"userId":"u1"}`
		}},
		{"Go, presence marks", PresenceUpdate, map[string]any{"presenceEvent": "JOIN", "presenceList": []any{1}}, func(m *Message) bool {
			return string(m.Presence) == `{"status":"busy"}`
		}},
		{"no request ID", UserMessage, map[string]any{"requestId": nil}, func(m *Message) bool { return m.RequestID == "" }},
		{"no sender", UserMessage, map[string]any{"fromUserId": nil}, func(m *Message) bool { return m.From == "" }},
		{"no node ID", NodeHeartbeat, map[string]any{"nodeId": nil}, func(m *Message) bool { return m.Node == "n1" }},
		{"number as node ID", NodeHeartbeat, map[string]any{"nodeId": 5}, func(m *Message) bool { return m.Node == "n1" }},
		{"huge timestamp", UserLeft, map[string]any{"timestamp": json.RawMessage(many)}, func(m *Message) bool { return m.Timestamp == 0 }},
		{"fraction", UserLeft, map[string]any{"timestamp": json.RawMessage("1.795e12")}, func(m *Message) bool { return m.Timestamp == 1795000000000 }},
		{"other version of ext", UserLeft, map[string]any{"ext": map[string]any{"v": 2, "boot": "b"}}, func(m *Message) bool { return m.Ext == Ext{} }},
		{"ext without version", UserLeft, map[string]any{"ext": map[string]any{"boot": "b"}}, func(m *Message) bool { return m.Ext == Ext{} }},
		{"ext is no object", UserLeft, map[string]any{"ext": "b"}, func(m *Message) bool { return m.Ext == Ext{} }},
		{"odd ext", UserLeft, map[string]any{"ext": map[string]any{"v": 1, "boot": 5, "seq": -1, "action": null, "pos": []any{1}, "new": true}}, func(m *Message) bool { return m.Ext == Ext{} }},
		{"longest IDs", UserLeft, map[string]any{"messageId": strings.Repeat("m", MaxID), "sourceNodeId": strings.Repeat("s", MaxID)}, func(m *Message) bool {
			return len(m.ID) == MaxID && len(m.Source) == MaxID
		}},
		{"long boot and key", NodeHeartbeat, map[string]any{"ext": map[string]any{"v": 1, "boot": strings.Repeat("b", MaxID+1), "key": strings.Repeat("k", MaxID+1)}}, func(m *Message) bool {
			return m.Ext == Ext{}
		}},
		{"half a position", UserLeft, map[string]any{"ext": map[string]any{"v": 1, "pos": map[string]any{"o": 5}}}, func(m *Message) bool { return m.Ext == Ext{} }},
	} {
		data := edit(t, test.typ, test.changes)
		m := message(test.typ)
		m, err := Decode(data, m.Endpoint, m.Channel, DefaultLimits)
		if err != nil || !test.check(&m) {
			t.Errorf("%s: %s: %+v, %v", test.name, data, m, err)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	tight := Limits{Bytes: 1000, Depth: 3, Users: 2}
	deep := json.RawMessage(strings.Repeat("[", 2000) + strings.Repeat("]", 2000))
	for _, test := range []struct {
		typ     Type
		changes map[string]any
		limits  Limits
		want    Reason
	}{
		{UserLeft, map[string]any{"x": strings.Repeat("x", 1000)}, tight, TooLarge},
		{UserLeft, map[string]any{"x": []any{[]any{[]any{}}}}, tight, TooDeep},
		{UserLeft, map[string]any{"x": deep}, DefaultLimits, TooDeep},
		{StateResponse, map[string]any{"users": []any{1, 2, map[string]any{"id": "a"}, map[string]any{"id": "b"}, map[string]any{"id": "c"}}}, tight, TooMany},
		{UserMessage, map[string]any{"recipientDescriptor": []any{"a", "b", "c"}}, tight, TooMany},
		{UserMessage, map[string]any{"recipientDescriptor": []any{"a", 5}}, DefaultLimits, BadRecipients},
		{UserMessage, map[string]any{"recipientDescriptor": "all_users"}, DefaultLimits, BadRecipients},
		{UserMessage, map[string]any{"recipientDescriptor": "ALL_EXCEPT_SENDER", "fromUserId": nil}, DefaultLimits, BadRecipients},
		{UserLeft, map[string]any{"userId": 5}, DefaultLimits, BadUser},
		{UserLeft, map[string]any{"userId": ""}, DefaultLimits, BadUser},
		{UserGetRequest, map[string]any{"requestId": nil}, DefaultLimits, BadRequest},
		{AssignsUpdate, map[string]any{"assigns": nil}, DefaultLimits, BadAssigns},
		{AssignsUpdate, map[string]any{"assigns": 5, "key": 5, "value": 5}, DefaultLimits, BadAssigns},
		{AssignsUpdate, map[string]any{"assigns": nil, "key": "k"}, DefaultLimits, BadAssigns},
		{UserLeft, map[string]any{"timestamp": null}, DefaultLimits, BadTimestamp},
		{UserLeft, map[string]any{"messageId": null}, DefaultLimits, BadID},
		{UserLeft, map[string]any{"messageId": strings.Repeat("m", MaxID+1)}, DefaultLimits, BadID},
		{NodeHeartbeat, map[string]any{"sourceNodeId": strings.Repeat("s", MaxID+1)}, DefaultLimits, BadSource},
		{UserLeft, map[string]any{"version": json.RawMessage("1.5")}, DefaultLimits, BadProtocol},
	} {
		data := edit(t, test.typ, test.changes)
		m := message(test.typ)
		if _, err := Decode(data, m.Endpoint, m.Channel, test.limits); !errors.Is(err, test.want) {
			t.Errorf("%.200s: error %v, want %v", data, err, test.want)
		}
	}
	m := message(UserLeft)
	data, _ := Append(nil, &m)
	for i := range data { // all prefixes, and trailing garbage
		if _, err := Decode(data[:i], m.Endpoint, m.Channel, DefaultLimits); !errors.Is(err, Malformed) {
			t.Errorf("%q: error %v, want %v", data[:i], err, Malformed)
		}
	}
	for _, junk := range []string{"}", "x", "{}", "\x00"} {
		if _, err := Decode(append(slices.Clip(data), junk...), m.Endpoint, m.Channel, DefaultLimits); !errors.Is(err, Malformed) {
			t.Errorf("%q behind: error %v, want %v", junk, err, Malformed)
		}
	}
	if _, err := Decode([]byte(strings.Replace(string(data), "u1", "u\xff", 1)), m.Endpoint, m.Channel, DefaultLimits); !errors.Is(err, Malformed) {
		t.Errorf("invalid UTF-8: error %v, want %v", err, Malformed)
	}
}

// If a name occurs several times, the last member counts.
func TestLastMemberCounts(t *testing.T) {
	m := message(UserLeft)
	data, _ := Append(nil, &m)
	data = append(data[:len(data)-1], ` , "userId" : "u2" , "\u0075serId":"u3"}`...)
	if got, err := Decode(data, m.Endpoint, m.Channel, DefaultLimits); err != nil || got.User != "u3" {
		t.Errorf("user %q, %v", got.User, err)
	}
}

// Values are compact, because clients receive them in frames of one line.
func TestDecodeCompacts(t *testing.T) {
	m := message(UserMessage)
	data, _ := Append(nil, &m)
	spaced := strings.Replace(string(data), `"payload":{`, "\"payload\" : \n{ \"a b\" : [ 1 ,\t\"\\\" \" ] , ", 1)
	got, err := Decode([]byte(spaced), m.Endpoint, m.Channel, DefaultLimits)
	if want := `{"a b":[1,"\" "],"text":"<&>\u2028"}`; err != nil || string(got.Payload) != want {
		t.Errorf("%q, %v; want %q", got.Payload, err, want)
	}
}

// A node's own messages are recognized by their start. Similar texts of clients are
// not.
func TestIsFrom(t *testing.T) {
	m := message(UserMessage)
	data, _ := Append(nil, &m)
	for source, want := range map[string]bool{"n1": true, "n": false, "n11": false, "": false, `n1","x":"`: false} {
		if IsFrom(data, source) != want {
			t.Errorf("from %q: %t", source, !want)
		}
	}
	m.Source = "n2"
	m.Payload = []byte(`{"protocol":"pondsocket.distributed","version":1,"sourceNodeId":"n1"}`)
	data, _ = Append(nil, &m)
	if IsFrom(data, "n1") || IsFrom(m.Payload, "n1") || IsFrom(nil, "n1") || IsFrom(data[:20], "n2") {
		t.Error("the payload decides about the source")
	}
}

func TestChunks(t *testing.T) {
	users := make([]User, 1201)
	for i := range users {
		users[i].ID = fmt.Sprint("u", i)
	}
	var sizes []int
	for chunk := range Chunks(users) {
		sizes = append(sizes, len(chunk))
	}
	if want := []int{500, 500, 201}; !slices.Equal(sizes, want) {
		t.Errorf("chunks of %v users, want %v", sizes, want)
	}
	for range Chunks(nil) {
		t.Error("a chunk without users")
	}

	large := []byte(`{"x":"` + strings.Repeat("x", 100<<10) + `"}`)
	users = []User{
		{ID: "a"},
		{ID: "b", Assigns: large, Presence: large},
		{ID: "c", Assigns: large},
		{ID: "d"},
		{ID: "e", Assigns: slices.Repeat(large, 4)},
	}
	var ids []string
	for chunk := range Chunks(users) {
		var text strings.Builder
		for _, u := range chunk {
			text.WriteString(u.ID)
		}
		ids = append(ids, text.String())
	}
	if want := []string{"ab", "cd", "e"}; !slices.Equal(ids, want) {
		t.Errorf("chunks %q, want %q", ids, want)
	}
}

// W-5: servers whose IDs are UUIDs answer only for their own users.
func TestIsFirsthand(t *testing.T) {
	for source, want := range map[string]bool{
		"ddf8935f-7d9f-46b5-a168-c4dce5596403":  true,
		NewID(time.Now()):                       true,
		"sxssoarrhm":                            false,
		"":                                      false,
		"my-node-with-thirty-six-characters-00": false,
		"ddf8935f-7d9f-46b5-a168-c4dce559640g":  false,
		"ddf8935f07d9f-46b5-a168-c4dce5596403":  false,
	} {
		if IsFirsthand(source) != want {
			t.Errorf("%q: %t", source, !want)
		}
	}
}

// W-11: acknowledgements and errors that other servers publish are distinguished from
// messages.
func TestIsNotice(t *testing.T) {
	notices := 0
	for _, v := range readVectors(t) {
		if !strings.HasPrefix(v.Name, "captured/") {
			continue
		}
		m, err := decodeVector(t, v.message())
		if err != nil {
			continue
		}
		want := slices.Contains([]string{
			"captured/go/user-message-ack", "captured/js/user-message-error", "captured/go/user-message-notfound",
		}, v.Name)
		if m.IsNotice() != want {
			t.Errorf("%s: %t, want %t", v.Name, m.IsNotice(), want)
		}
		if want {
			notices++
		}
		m.Ext.Boot = "b" // pond nodes do not publish them, so this is a message
		if m.IsNotice() {
			t.Errorf("%s of our node is a notice", v.Name)
		}
	}
	if notices != 3 {
		t.Errorf("%d notices, want 3", notices)
	}
}

func TestNewID(t *testing.T) {
	now := time.UnixMilli(0x01976d2ca001)
	id := NewID(now)
	if !strings.HasPrefix(id, "01976d2c-a001-7") || !IsFirsthand(id) || !strings.ContainsAny(id[19:20], "89ab") {
		t.Errorf("ID %q", id)
	}
	if NewID(now) == id {
		t.Error("two equal IDs")
	}
}

// W-14, W-20: duplicates are detected, with limited memory.
func TestRecent(t *testing.T) {
	var r Recent
	now := time.Unix(1e9, 0)
	add := func(source, id string) bool { return r.Add(&Message{Source: source, ID: id}, now) }
	if !add("n1", "m1") || add("n1", "m1") || !add("n2", "m1") || !add("n1", "") || !add("n1", "") {
		t.Error("not told apart")
	}
	now = now.Add(recentAge - 1)
	if add("n1", "m1") {
		t.Error("forgotten too early")
	}
	now = now.Add(recentAge - 1)
	if add("n1", "m1") {
		t.Error("forgotten although it came again")
	}
	now = now.Add(2 * recentAge)
	if !add("n1", "m1") {
		t.Error("remembered for too long")
	}
	for i := range 10 * recentMessages {
		if !add("n1", fmt.Sprint(i)) {
			t.Fatalf("message %d is known", i)
		}
		early := i - recentMessages/2 + i/1000 + 1 // the checks below count as well
		if i%1000 == 999 && early >= 0 && add("n1", fmt.Sprint(early)) {
			t.Fatalf("message %d is forgotten at %d", early, i)
		}
		if n := len(r.young) + len(r.old); n > recentMessages {
			t.Fatalf("%d messages", n)
		}
	}
}

func TestReasonsAreErrors(t *testing.T) {
	if err := error(TooLarge); err.Error() != "clusterwire: message rejected: too large" || !utf8.ValidString(err.Error()) {
		t.Errorf("%q", err)
	}
}

// A number that is added later is like one that was there from the beginning.
func TestAppendSeq(t *testing.T) {
	for _, typ := range types {
		want := message(typ)
		want.Ext = Ext{Boot: "b1", Action: "}}"}
		data, err := Append(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		for _, events := range []uint64{0, 1, 1<<64 - 1} {
			want.Ext.Seq, want.Ext.Events, want.Ext.Base = 1<<64-1, events, events/2
			got, err := Decode(AppendSeq(bytes.Clone(data), want.Ext.Seq, events, events/2), want.Endpoint, want.Channel, DefaultLimits)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v; want %+v", data, got, err, want)
			}
		}
	}
}
